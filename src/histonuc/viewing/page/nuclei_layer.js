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

/**
 * The layer, and what it has drawn last.
 * @param {object} wiring
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./densities.js").DensitySource} wiring.densities counts on a grid
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createNucleiLayer({ api, store, densities, report }) {
  let stale = { palette: true, picture: true };
  let drawnFrame = ""; // what the canvas shows: the same frame is never drawn twice, for example while tiles fade in
  /** @type {{plan: Plan|null, squares: Square[]}} */
  let drawn = { plan: null, squares: [] };
  const surface = createCanvas(
    () => [...squares.all()].forEach((square) => (square.buffers = null)),
    refresh,
  );
  const drawing = createDrawing(surface);
  const squares = createSquares({
    api,
    report,
    onArrival: redraw,
    onDrop: (square) => release(surface.gl, square),
  });
  const layer = new ol.layer.Layer({ render: draw });

  function redraw() {
    drawnFrame = "";
    layer.changed();
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
    if (!slide || !slide.has_nuclei || !surface.programs) {
      canvas.dataset.complete = "false";
      return canvas;
    }
    const counts = densities.get();
    if (stale.palette) drawing.setPalette(state);
    stale.palette = false;
    const box = boxOf(frame);
    const mag = magnification(slide, frame.viewState.resolution);
    const plan = chooseDetail(slide, mag, frame.pixelRatio, densities.countIn(box));
    const camera = cameraOf(frame, micronsPerPixel(slide));
    let complete = true;
    if (plan.kind === "densities") {
      squares.want([], []);
      drawn = { plan, squares: [] };
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
   * Draw the squares of a plan; until all of them came, those of the plan before, so that nothing flickers.
   * @param {Plan} plan what is to be drawn
   * @param {import("./types.js").Box} box the view
   * @param {import("./nuclei_drawing.js").Camera} camera the camera
   */
  function drawPlan(plan, box, camera) {
    const state = store.get();
    const slide = /** @type {import("./types.js").Slide} */ (state.slide);
    const columns = columnsInUse(state);
    const keys = squares.keysOf(slide, plan, box);
    squares.want(keys, columns);
    /** @param {string[]} some */
    const present = (some) => some.flatMap((key) => squares.ready(key, columns) ?? []);
    let found = present(keys);
    const all = found.length + keys.filter(squares.hasFailed).length >= keys.length;
    const before = drawn.plan;
    const same = before?.z === plan.z && before.detail === plan.detail;
    if (!all && !same && before && before.z >= 0) {
      const old = present(squares.keysOf(slide, before, box));
      if (old.length) found = old;
      else drawn.plan = plan;
    } else {
      drawn.plan = plan;
    }
    drawn.squares = found;
    const whole = !state.visible || drawing.drawSquares(found, state, columns, camera);
    if (!whole) redraw(); // the rest goes to the graphics card in the next frame
    return whole && all;
  }

  store.watch(["shown", "solo", "palette", "slide"], refresh);
  store.watch(["fill", "visible", "opacity", "colourBy", "ranges"], redraw);
  store.watch(["slide"], () => squares.clear());
  densities.onChange(refresh);

  return {
    layer,
    canvas: surface.canvas,
    /** What is on the screen now. */
    drawn: () => drawn,
  };
}

/** @typedef {ReturnType<typeof createNucleiLayer>} NucleiLayer */

/**
 * The box of slide pixels that a frame shows.
 * @param {import("ol/Map.js").FrameState} frame the frame
 * @returns {import("./types.js").Box}
 */
export function boxOf({ extent }) {
  const [x0, y0, x1, y1] = extent ?? [0, 0, 0, 0];
  return [x0, -y1, x1, -y0];
}
