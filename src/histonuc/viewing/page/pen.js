/**
 * The pen of the correcting tools: a drag draws a line by hand, clicks set corners. Space sets a corner in the middle of the view.
 * @module
 */

import { ol } from "./ol.js";
import { micronsPerPixel } from "./scale.js";
import { createShapesLayer } from "./shapes_layer.js";

/** @typedef {import("./types.js").Point} Point */

/**
 * What each tool draws, and how many clicks end it.
 * @type {Record<string, {shape: "stroke"|"area"|"line"|"square", clicks: number}>}
 */
export const PEN_TOOLS = {
  paint: { shape: "stroke", clicks: 1 },
  lasso: { shape: "area", clicks: Infinity },
  add: { shape: "area", clicks: Infinity },
  redraw: { shape: "area", clicks: Infinity },
  split: { shape: "line", clicks: 2 },
  field: { shape: "square", clicks: 1 },
};

const FIELD_UM = 128;
const DRAG_PX = 5;
const CLOSE_PX = 10;

/** @param {Point} point of the map @returns {Point} of the slide, or back */
const flip = ([x, y]) => [x, -y];

/**
 * The pen.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {(points: Point[]) => void} wiring.onMove called while the brush moves, with its last two places
 * @param {(points: Point[], isClicked: boolean) => void} wiring.onEnd called with what was drawn, in pixels of the slide
 */
export function createPen({ store, camera, onMove, onEnd }) {
  const { map } = camera;
  const { layer, source } = createShapesLayer({ zIndex: 7, style });
  /** @type {Point[]} */
  let points = [];
  let dragging = false;
  /** @type {[number, number]} */
  let start = [0, 0];

  const tool = () => PEN_TOOLS[store.get().tool];
  const resolution = () => map.getView().getResolution() ?? 1;

  /** @returns {import("ol/style/Style.js").default[]} */
  function style() {
    const { tool: name, brush, paintClass, palette, classes } = store.get();
    const entry = classes[paintClass];
    const colour = (palette === "safe" ? entry?.safe_colour : entry?.colour) ?? "#ffffff";
    if (name === "paint") {
      const stroke = new ol.style.Stroke({
        color: `${colour}66`,
        width: 2 * brush,
        lineCap: "round",
        lineJoin: "round",
      });
      return [new ol.style.Style({ stroke })];
    }
    const corner = new ol.style.Circle({
      radius: 4,
      fill: new ol.style.Fill({ color: "#ffffff" }),
      stroke: new ol.style.Stroke({ color: "#000000", width: 1.5 }),
    });
    return [
      new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#000000", width: 4.5 }) }),
      new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#ffffff", width: 2 }), image: corner }),
    ];
  }

  /** Show what was drawn so far. @param {Point} [next] where the pointer is */
  function show(next) {
    source.clear();
    const all = next && !dragging ? [...points, next] : points;
    if (!all.length) return;
    const shape = tool()?.shape;
    const corners = shape === "square" && dragging ? box(points[0], all[all.length - 1]) : all;
    const ring = corners.length > 2 && shape !== "line" && shape !== "stroke" ? [...corners, corners[0]] : corners;
    const line = ring.length > 1 ? ring : [ring[0], ring[0]];
    source.addFeature(new ol.Feature(new ol.geom.LineString(line.map(flip))));
    if (!dragging && shape !== "stroke")
      points.forEach((point) => source.addFeature(new ol.Feature(new ol.geom.Point(flip(point)))));
  }

  /** @param {Point} one corner @param {Point} other the opposite one @returns {Point[]} */
  const box = ([x0, y0], [x1, y1]) => [
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
  ];

  function clear() {
    points = [];
    dragging = false;
    show();
  }

  /** Hand over what was drawn. @param {boolean} isClicked whether corners were clicked */
  function finish(isClicked) {
    let drawn = points;
    const { shape } = tool();
    const { slide } = store.get();
    if (shape === "square" && slide) {
      const half = FIELD_UM / micronsPerPixel(slide) / 2;
      const [x, y] = points[0];
      drawn = isClicked ? box([x - half, y - half], [x + half, y + half]) : box(points[0], points[points.length - 1]);
    }
    clear();
    if (shape === "area" && drawn.length < 3) return;
    if (shape === "line" && drawn.length < 2) return;
    onEnd(drawn, isClicked);
  }

  /** Set a corner. @param {Point} point slide pixels */
  function press(point) {
    const first = points[0];
    const near = first && Math.hypot(first[0] - point[0], first[1] - point[1]) < CLOSE_PX * resolution();
    if (near && points.length > 2) return finish(true);
    points = [...points, point];
    if (tool().shape === "stroke") onMove([point, point]);
    if (points.length >= tool().clicks) return finish(true);
    show();
  }

  /** @param {import("ol/MapBrowserEvent.js").default} event @returns {Point} */
  const placeOf = ({ coordinate: [x, y] }) => [x, -y];

  const interaction = new ol.interaction.Pointer({
    handleDownEvent(event) {
      const { button, ctrlKey, altKey } = /** @type {PointerEvent} */ (event.originalEvent);
      if (!tool() || button !== 0 || ctrlKey || altKey) return false;
      start = [event.pixel[0], event.pixel[1]];
      return true;
    },
    handleDragEvent(event) {
      const [x, y] = event.pixel;
      if (!dragging) {
        if (points.length || Math.hypot(x - start[0], y - start[1]) < DRAG_PX) return;
        dragging = true;
        const [u, v] = map.getCoordinateFromPixel(start);
        points = [[u, -v]];
      }
      const before = points[points.length - 1];
      points.push(placeOf(event));
      if (tool().shape === "stroke") onMove([before, placeOf(event)]);
      show();
    },
    handleUpEvent(event) {
      if (dragging) finish(false);
      else if (tool()) press(placeOf(event));
      return false;
    },
    handleMoveEvent(event) {
      if (tool() && points.length && !dragging) show(placeOf(event));
    },
  });
  map.addInteraction(interaction);
  map.addLayer(layer);
  map.on("dblclick", (event) => {
    const [before, last] = points.slice(-2);
    // OpenLayers takes two quick clicks anywhere for a double click.
    if (!tool() || !last || Math.hypot(before[0] - last[0], before[1] - last[1]) > CLOSE_PX * resolution()) return;
    event.stopPropagation();
    points = points.slice(0, -1);
    finish(true);
  });

  store.watch(["tool", "slide"], ({ tool: name }) => {
    clear();
    map.getTargetElement()?.classList.toggle("correcting", name in PEN_TOOLS);
  });

  return {
    /** Set a corner in the middle of the view. */
    pressMiddle() {
      const { x, y } = camera.view();
      if (tool()) press([x, y]);
    },
    /** End what is being drawn. */
    finish: () => (points.length ? finish(true) : undefined),
    /** Take back the last corner. */
    undoCorner() {
      points = points.slice(0, -1);
      show();
    },
  };
}
