/**
 * The layer of the map that shows the nuclei: densities, points or outlines, by magnification.
 * @module
 */

import { columnsInUse } from "./colours.js";
import { chooseDetail } from "./detail.js";
import { beginFrame, createCanvas } from "./gl.js";
import { cameraOf, createDrawing } from "./nuclei_drawing.js";
import { ol } from "./ol.js";
import { magnification, micronsPerPixel } from "./scale.js";
import { release } from "./square_buffers.js";
import { createSquares } from "./squares.js";

/** @typedef {import("./detail.js").Plan} Plan */
/** @typedef {import("./squares.js").Square} Square */

/** Milliseconds between two pictures while squares are on their way. */
const BETWEEN_MS = 250;

/**
 * The layer, and what it has drawn last.
 * @param {object} wiring
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./densities.js").DensitySource} wiring.densities counts on a grid
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createNucleiLayer({ api, store, densities, report }) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let later;
  let stale = { palette: true, picture: true };
  let drawnFrame = ""; // what the canvas shows: the same frame is never drawn twice, for example while tiles fade in
  /** @type {{plan: Plan|null, squares: Square[], state: import("./state.js").State}} */
  let drawn = { plan: null, squares: [], state: store.get() };
  const surface = createCanvas(lose, refresh);
  const drawing = createDrawing(surface);
  const squares = createSquares({
    api,
    report,
    onArrival: arrive,
    onDrop: (square) => release(surface.gl, square),
  });
  const layer = new ol.layer.Layer({ render: draw });

  function redraw() {
    clearTimeout(later);
    later = undefined;
    drawnFrame = "";
    layer.changed();
  }

  /**
   * Squares are drawn when the last of them came, and in between now and then: each picture holds all of them anew.
   * @param {Square[]} came squares with what was asked for
   * @param {boolean} all whether nothing else is awaited
   */
  function arrive(came, all) {
    const state = store.get();
    const columns = columnsInUse(state);
    for (const square of surface.lost ? [] : came) {
      if (columns.every((name) => name in square.arrays)) drawing.bring(square, columns, state.fill === "filled");
    }
    if (all) redraw();
    else later ??= setTimeout(redraw, BETWEEN_MS);
  }

  /** Everything on the graphics card is gone, and with it the picture. */
  function lose() {
    for (const square of squares.all()) square.buffers = null;
    surface.canvas.dataset.complete = "false";
  }

  function refresh() {
    stale = { palette: true, picture: true };
    redraw();
  }

  /** @param {import("ol/Map.js").FrameState} frame */
  function draw(frame) {
    const state = store.get();
    const { canvas } = surface;
    const wanted = [...frame.coordinateToPixelTransform, ...frame.size, frame.pixelRatio].join();
    if (wanted === drawnFrame) return canvas;
    drawnFrame = wanted;
    beginFrame(surface, frame.size, frame.pixelRatio);
    const { slide } = state;
    if (!slide || !slide.has_nuclei || surface.lost) {
      canvas.dataset.complete = "false";
      return canvas;
    }
    const counts = densities.get();
    if (stale.palette) drawing.setPalette(state);
    stale.palette = false;
    const box = boxOf(frame);
    const plan = planOf(slide, box, frame.viewState.resolution, frame.pixelRatio);
    const camera = cameraOf(frame, micronsPerPixel(slide));
    let complete = true;
    if (plan.kind === "densities") {
      squares.want([], []);
      densities.wantColours();
      drawn = { plan, squares: [], state };
      complete = counts !== null && !densities.waiting();
      if (counts && stale.picture) {
        drawing.setDensities(counts, state);
        stale.picture = false;
      }
      if (counts && state.visible) drawing.drawDensities(counts, state, camera);
    } else {
      complete = drawPlan(plan, box, camera);
    }
    canvas.dataset.detail = drawn.plan?.kind ?? "";
    canvas.dataset.complete = String(complete);
    return canvas;
  }

  /**
   * Draw the squares of a plan; until all of them and their columns came, what was drawn before, so that nothing flickers.
   * @param {Plan} plan what is to be drawn
   * @param {import("./types.js").Box} box the view
   * @param {import("./nuclei_drawing.js").Camera} camera the camera
   */
  function drawPlan(plan, box, camera) {
    const state = store.get();
    const slide = /** @type {import("./types.js").Slide} */ (state.slide);
    const keys = squares.keysOf(slide, plan, box);
    squares.want(keys, columnsInUse(state));
    /** @param {string[]} some @param {import("./state.js").State} used */
    const present = (some, used) => some.flatMap((key) => squares.ready(key, columnsInUse(used)) ?? []);
    const next = { plan, squares: present(keys, state), state };
    const all = next.squares.length + keys.filter(squares.hasFailed).length >= keys.length;
    if (!all && drawn.plan && drawn.plan.z >= 0 && drawn.state.slide === slide) {
      const { ranges, colourBy } = drawn.state;
      const used = { ...state, ranges, colourBy };
      const old = present(squares.keysOf(slide, drawn.plan, box), used);
      if (old.length > 0 && !sameDetail(drawn.plan, plan))
        Object.assign(next, { plan: drawn.plan, squares: old, state: used });
      else if (old.length > next.squares.length) Object.assign(next, { squares: old, state: used });
    }
    drawn = next;
    const whole = !state.visible || drawing.drawSquares(drawn.squares, drawn.state, columnsInUse(drawn.state), camera);
    if (!whole) redraw(); // the rest goes to the graphics card in the next frame
    return whole && all && !keys.some(squares.isOld);
  }

  /**
   * What a view shows.
   * @param {import("./types.js").Slide} slide the slide
   * @param {import("./types.js").Box} box the view
   * @param {number} resolution slide pixels a CSS pixel
   * @param {number} ratio device pixels a CSS pixel
   */
  const planOf = (slide, box, resolution, ratio) =>
    chooseDetail(slide, magnification(slide, resolution), ratio, densities.countIn(box));

  store.watch(["shown", "solo", "palette", "slide", "classes", "colourBy"], refresh);
  store.watch(["fill", "visible", "opacity", "ranges"], redraw);
  store.watch(["slide"], () => squares.clear());
  densities.onChange(refresh);

  return {
    layer,
    canvas: surface.canvas,

    /**
     * Ask for the squares of a view before its frame is drawn.
     * @param {import("./types.js").Box} box the view
     * @param {number} resolution slide pixels a CSS pixel
     */
    expect(box, resolution) {
      const state = store.get();
      if (!state.slide?.has_nuclei) return;
      const plan = planOf(state.slide, box, resolution, devicePixelRatio);
      squares.want(squares.keysOf(state.slide, plan, box), columnsInUse(state));
    },

    /** What is on the screen now. */
    drawn: () => drawn,
    /**
     * Ask anew for squares whose nuclei changed; until they come the old ones are drawn.
     * @param {import("./types.js").Box[]|null} boxes where nuclei changed; null for anywhere
     */
    renew(boxes) {
      squares.renew(store.get().slide, boxes);
      redraw();
    },
  };
}

/** @typedef {ReturnType<typeof createNucleiLayer>} NucleiLayer */

/** Whether two plans ask for the same squares. @param {Plan} one @param {Plan} other */
const sameDetail = (one, other) => one.z === other.z && one.detail === other.detail;

/**
 * The box of slide pixels that a frame shows.
 * @param {import("ol/Map.js").FrameState} frame the frame
 * @returns {import("./types.js").Box}
 */
function boxOf({ extent }) {
  const [x0, y0, x1, y1] = extent ?? [0, 0, 0, 0];
  return [x0, -y1, x1, -y0];
}
