/**
 * Marks over the nuclei: a dot on each that a person corrected, and the outlines of those that are chosen or under the brush.
 * @module
 */

import { ol } from "./ol.js";

/** @typedef {import("./squares.js").Square} Square */

/** What the server says was done to a nucleus, as bits of its mark. */
export const MARKS = { class: 1, outline: 2, made: 4, held_out: 8, conflict: 16 };
const CORRECTED = MARKS.class | MARKS.outline | MARKS.made;

/**
 * The layer.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./nuclei_layer.js").NucleiLayer} wiring.nuclei the layer of nuclei, whose squares are marked
 */
export function createMarksLayer({ store, nuclei }) {
  const canvas = document.createElement("canvas");
  canvas.className = "marks";
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {{ids: Set<number>, colour: string}} */
  let caught = { ids: new Set(), colour: "#ffffff" };
  const layer = new ol.layer.Layer({ render: draw, zIndex: 6 });

  /** @param {import("ol/Map.js").FrameState} frame @returns {HTMLElement} */
  function draw(frame) {
    const { size, pixelRatio } = frame;
    const [width, height] = size.map((side) => Math.round(side * pixelRatio));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    canvas.style.width = `${size[0]}px`;
    canvas.style.height = `${size[1]}px`;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    const state = store.get();
    const { plan, squares } = nuclei.drawn();
    if (!state.visible || !plan || plan.kind === "densities") return canvas;
    const t = frame.coordinateToPixelTransform;
    /** @param {number} x @param {number} y slide pixels */
    const place = (x, y) => [(t[0] * x - t[2] * y + t[4]) * pixelRatio, (t[1] * x - t[3] * y + t[5]) * pixelRatio];
    const chosen = new Set(state.chosen);
    let num_marked = 0;
    for (const square of squares) {
      const { arrays, origin_px, unit_px, count } = square;
      if (!arrays.mark && !chosen.size && !caught.ids.size) continue;
      for (let i = 0; i < count; i++) {
        const [mark, id] = [arrays.mark?.[i] ?? 0, arrays.id[i]];
        const outlined = chosen.has(id) ? "#ffffff" : caught.ids.has(id) ? caught.colour : null;
        if (!mark && !outlined) continue;
        const [x, y] = place(origin_px[0] + arrays.x[i] * unit_px, origin_px[1] + arrays.y[i] * unit_px);
        if (x < -99 || y < -99 || x > width + 99 || y > height + 99) continue;
        if (outlined) outline(square, i, place, outlined, pixelRatio);
        if (mark & (CORRECTED | MARKS.conflict)) {
          dot(x, y, pixelRatio, (mark & MARKS.conflict) > 0);
          num_marked += 1;
        }
      }
    }
    canvas.dataset.marked = String(num_marked);
    return canvas;
  }

  /** @param {number} x @param {number} y device pixels @param {number} ratio @param {boolean} conflict */
  function dot(x, y, ratio, conflict) {
    pen.beginPath();
    pen.arc(x, y, 3 * ratio, 0, 2 * Math.PI);
    pen.fillStyle = conflict ? "#ffd54a" : "#ffffff";
    pen.strokeStyle = "#000000";
    pen.lineWidth = 1.25 * ratio;
    pen.fill();
    pen.stroke();
  }

  /**
   * @param {Square} square the square
   * @param {number} i the nucleus's place in it
   * @param {(x: number, y: number) => number[]} place from slide to device pixels
   * @param {string} colour of the line
   * @param {number} ratio device pixels a CSS pixel
   */
  function outline({ arrays, origin_px, unit_px }, i, place, colour, ratio) {
    pen.beginPath();
    const { vertices, offsets } = arrays;
    if (vertices) {
      for (let k = offsets[i]; k < offsets[i + 1]; k++) {
        const [x, y] = place(origin_px[0] + vertices[2 * k] * unit_px, origin_px[1] + vertices[2 * k + 1] * unit_px);
        pen.lineTo(x, y);
      }
      pen.closePath();
    } else {
      const [x, y] = place(origin_px[0] + arrays.x[i] * unit_px, origin_px[1] + arrays.y[i] * unit_px);
      pen.arc(x, y, 6 * ratio, 0, 2 * Math.PI);
    }
    pen.strokeStyle = "#000000";
    pen.lineWidth = 5 * ratio;
    pen.stroke();
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5 * ratio;
    pen.stroke();
  }

  const redraw = () => layer.changed();
  store.watch(["chosen", "visible", "shown", "solo", "version"], redraw);

  return {
    layer,
    canvas,
    /** Nuclei under the brush. @param {Iterable<number>} ids which @param {string} colour of the class they get */
    setCaught(ids, colour) {
      caught = { ids: new Set(ids), colour };
      redraw();
    },
  };
}

/** @typedef {ReturnType<typeof createMarksLayer>} MarksLayer */
