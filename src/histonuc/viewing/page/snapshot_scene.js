/**
 * What a snapshot shows: the picture, the nuclei as shapes in slide pixels, and the strip with scale bar, legend and provenance.
 * @module
 */

import { colouring, columnsInUse, nucleusColour, rampColour, classColour } from "./colours.js";
import { densityTexels } from "./densities.js";
import { squaresOf } from "./detail.js";
import { formatPlace } from "./address.js";
import { formatValue, micronsPerPixel } from "./scale.js";
import { classShown } from "./state.js";

/** @typedef {import("./types.js").Box} Box */
/** @typedef {{colour: string, ring: number[]|null, x: number, y: number}} Shape */
/** @typedef {{kind: "rectangle", x: number, y: number, w: number, h: number, fill: string}} Rectangle */
/** @typedef {{kind: "text", x: number, y: number, text: string, size: number, anchor: "start"|"end"}} Text */

/**
 * @typedef {object} Scene
 * @property {number} width pixels
 * @property {number} height pixels of the view, without the strip
 * @property {number} strip_height pixels of the strip below
 * @property {number} scale pixels a slide pixel
 * @property {number} rotation radians, clockwise
 * @property {[number, number]} centre slide pixels
 * @property {Box} box slide pixels that the picture covers
 * @property {Blob|null} picture the slide there
 * @property {Shape[]} shapes nuclei that are drawn
 * @property {import("./types.js").Point[][]} rings of drawn regions
 * @property {HTMLCanvasElement|null} densities their picture, from afar
 * @property {Box} densities_box where it lies
 * @property {boolean} filled whether insides are drawn
 * @property {number} opacity of the nuclei
 * @property {(Rectangle|Text)[]} strip scale bar, legend and provenance
 */

/**
 * @typedef {object} Wiring
 * @property {import("./state.js").Store} store the state
 * @property {import("./api.js").Api} api requests
 * @property {import("./map.js").SlideMap} camera the view
 * @property {import("./nuclei_layer.js").NucleiLayer} nuclei the layer of nuclei
 * @property {import("./densities.js").DensitySource} densities counts on a grid
 * @property {import("./regions.js").Regions} regions drawn regions
 */

/** More nuclei than this make a file that programs cannot open any more. */
const MOST_SHAPES = 100_000;

/**
 * The nuclei of a box, with whole outlines where outlines are on the screen.
 * @param {Wiring} wiring what it works with
 * @param {Box} box slide pixels
 * @param {boolean} outlines whether outlines are on the screen, else points
 * @returns {Promise<Shape[]>}
 */
async function shapesOf({ store, api }, box, outlines) {
  const state = store.get();
  const slide = /** @type {import("./types.js").Slide} */ (state.slide);
  const z = outlines ? 0 : slide.squares.length - 1;
  const grown = slide.overhang_px;
  /** @type {Box} */
  const around = [box[0] - grown, box[1] - grown, box[2] + grown, box[3] + grown];
  const query = new URLSearchParams({ detail: outlines ? "full" : "points", columns: columnsInUse(state).join(",") });
  /** @type {Shape[]} */
  const shapes = [];
  for (const { column, row } of squaresOf(slide.squares[z], around)) {
    const { header, arrays } = await api.binary(`slides/${slide.number}/squares/${z}/${column}/${row}?${query}`);
    const {
      origin_px: [left, top],
      unit_px,
    } = header;
    for (let i = 0; i < header.count; i++) {
      const colour = nucleusColour(state, arrays.class[i], (name) => arrays[name][i]);
      if (colour === null) continue;
      const ring = arrays.vertices
        ? Array.from(
            arrays.vertices.subarray(2 * arrays.offsets[i], 2 * arrays.offsets[i + 1]),
            (v, k) => (k % 2 ? top : left) + v * unit_px,
          )
        : null;
      shapes.push({ colour, ring, x: left + arrays.x[i] * unit_px, y: top + arrays.y[i] * unit_px });
    }
    if (shapes.length > MOST_SHAPES)
      throw new Error(`A snapshot holds at most ${MOST_SHAPES.toLocaleString("en")} nuclei. Zoom in, or hide classes.`);
  }
  return shapes;
}

/** The densities as a picture. @param {import("./densities.js").Densities} densities @param {import("./state.js").State} state */
function densityCanvas(densities, state) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [densities.columns, densities.rows];
  const texels = densityTexels(densities, state);
  for (let i = 0; i < texels.length; i += 4) {
    const alpha = texels[i + 3] / 255;
    if (alpha) for (let c = 0; c < 3; c++) texels[i + c] = Math.min(255, texels[i + c] / alpha);
  }
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.putImageData(new ImageData(new Uint8ClampedArray(texels), densities.columns, densities.rows), 0, 0);
  return canvas;
}

/** A round length of at most a fifth of the width. @param {number} um_per_px @param {number} width */
function scaleBar(um_per_px, width) {
  const most = (um_per_px * width) / 5;
  const power = 10 ** Math.floor(Math.log10(most));
  const um = [5, 2, 1].map((n) => n * power).find((n) => n <= most) ?? power;
  return { pixels: um / um_per_px, text: um >= 1000 ? `${um / 1000} mm` : `${um} µm` };
}

/** Names and colours of the legend. @param {Wiring} wiring what it works with @returns {{colour: string, text: string}[]} */
function legendOf({ store, nuclei }) {
  const state = store.get();
  const by = colouring(state);
  const classes = state.classes.flatMap((one, index) =>
    classShown(state, index) ? [{ colour: classColour(state, index), text: one.name }] : [],
  );
  if (!by) return classes;
  const title = `${by.column.title}${nuclei.drawn().plan?.kind === "densities" ? ", mean of a cell:" : ""} `;
  return [0, 0.25, 0.5, 0.75, 1].map((share, i) => ({
    colour: rampColour(state.palette, share),
    text: `${i === 0 ? title : ""}${formatValue(by.low + share * (by.high - by.low), by.column.unit)}`,
  }));
}

/** Two lines that say where the picture comes from. @param {Wiring} wiring */
function provenanceOf({ store, camera }) {
  const { slide, ranges } = store.get();
  const { provenance } = /** @type {import("./types.js").Slide} */ (slide);
  const filters = Object.entries(ranges).map(([name, [low, high]]) => `${name} ${low ?? "…"} to ${high ?? "…"}`);
  const made = [provenance?.model, provenance?.version && `histonuc ${provenance.version}`].filter(Boolean).join(", ");
  return [
    `${slide?.name} · at ${formatPlace(camera.view())}${made ? ` · ${made}` : ""} · ${new Date().toISOString().slice(0, 10)}`,
    filters.length ? `Filters: ${filters.join("; ")}` : "",
  ].filter(Boolean);
}

/**
 * The strip below the picture.
 * @param {Wiring} wiring what it works with
 * @param {number} width pixels
 * @param {number} top where it begins
 * @param {number} um_per_px microns a pixel of the picture
 * @returns {{strip: (Rectangle|Text)[], height: number}}
 */
function stripOf(wiring, width, top, um_per_px) {
  const state = wiring.store.get();
  const size = Math.max(11, Math.round(width / 95));
  const [gap, line] = [size, Math.round(size * 1.7)];
  /** @type {(Rectangle|Text)[]} */
  const strip = [];
  let [x, y] = [gap, top + gap];
  for (const { colour, text } of legendOf(wiring)) {
    const wide = size * 1.6 + text.length * size * 0.6 + gap;
    if (x + wide > width * 0.75) [x, y] = [gap, y + line];
    strip.push({ kind: "rectangle", x, y: y + size * 0.1, w: size, h: size, fill: colour });
    strip.push({ kind: "text", x: x + size * 1.6, y: y + size, text, size, anchor: "start" });
    x += wide;
  }
  if (state.slide?.mpp) {
    const { pixels, text } = scaleBar(um_per_px, width);
    strip.push({
      kind: "rectangle",
      x: width - gap - pixels,
      y: top + gap,
      w: pixels,
      h: Math.max(3, size / 4),
      fill: "#111111",
    });
    strip.push({ kind: "text", x: width - gap, y: top + gap + size * 1.6, text, size, anchor: "end" });
  }
  for (const text of provenanceOf(wiring)) {
    y += line;
    strip.push({ kind: "text", x: gap, y: y + size, text, size: size * 0.9, anchor: "start" });
  }
  return { strip, height: Math.ceil(y - top + line + gap / 2) };
}

/**
 * Gather what the view shows, at a chosen size.
 * @param {Wiring} wiring what it works with
 * @param {number} width pixels of the picture
 * @returns {Promise<Scene>}
 */
export async function gatherScene(wiring, width) {
  const { store, api, camera, nuclei, densities } = wiring;
  const state = store.get();
  const slide = /** @type {import("./types.js").Slide} */ (state.slide);
  const [w, h] = camera.map.getSize() ?? [1, 1];
  const resolution = camera.map.getView().getResolution() ?? 1;
  const scale = width / w / resolution;
  const height = Math.round((width * h) / w);
  const view = camera.view();
  const box = camera.box();
  const kind = nuclei.drawn().plan?.kind;
  const counts = densities.get();
  const drawn = state.visible && slide.has_nuclei;
  const { strip, height: strip_height } = stripOf(wiring, width, height, micronsPerPixel(slide) / scale);
  return {
    width,
    height,
    strip_height,
    strip,
    scale,
    box,
    rotation: view.rotation,
    centre: [view.x, view.y],
    picture: slide.picture_levels ? await cropOf(api, slide.number, box, scale) : null,
    shapes: drawn && (kind === "outlines" || kind === "points") ? await shapesOf(wiring, box, kind === "outlines") : [],
    rings: wiring.regions.body().regions.flatMap(({ polygons }) => polygons.flat()),
    densities: drawn && kind === "densities" && counts ? densityCanvas(counts, state) : null,
    densities_box: counts ? [0, 0, counts.columns * counts.cell_px, counts.rows * counts.cell_px] : [0, 0, 0, 0],
    filled: state.fill === "filled",
    opacity: state.opacity,
  };
}

/**
 * The slide in a box, as sharp as the server gives it.
 * @param {import("./api.js").Api} api requests
 * @param {number} number number of the slide
 * @param {Box} box slide pixels
 * @param {number} scale pixels a slide pixel
 */
async function cropOf(api, number, [x0, y0, x1, y1], scale) {
  const [w, h] = [x1 - x0, y1 - y0];
  const most = Math.min(scale, 4096 / w, 4096 / h, Math.sqrt(8e6 / (w * h)));
  const size = [w, h].map((side) => Math.max(1, Math.floor(side * most)));
  const query = `x=${x0}&y=${y0}&w=${w}&h=${h}&width=${size[0]}&height=${size[1]}`;
  return (await api.request(`slides/${number}/crop?${query}`)).blob();
}
