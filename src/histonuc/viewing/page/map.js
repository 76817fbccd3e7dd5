/**
 * The map: where the view is, how it moves, and its controls. Its coordinates are (x, −y) in level-0 pixels.
 * @module
 */

import { ol } from "./ol.js";
import { magnification, micronsPerPixel, resolutionAt } from "./scale.js";
import { createSlideLayer } from "./slide_layer.js";

/** @typedef {import("./types.js").Slide} Slide */
/** @typedef {import("./types.js").Box} Box */
/** @typedef {{x: number, y: number, mag: number, rotation: number}} View */

/** Pictures of the slide under the nuclei, and shapes above them. */
const BENEATH = 0;

/**
 * The map in an element.
 * @param {object} wiring
 * @param {HTMLElement} wiring.target the element
 * @param {HTMLElement} wiring.overview element of the overview map
 * @param {HTMLElement} wiring.scaleBar element of the scale bar
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./state.js").Store} wiring.store the state
 */
export function createMap({ target, overview, scaleBar, api, store }) {
  const map = new ol.Map({ target, layers: [], controls: [], view: new ol.View() });
  /** @type {ReturnType<typeof createSlideLayer>|null} */
  let picture = null;
  /** @type {import("ol/control/Control.js").default[]} */
  let controls = [];
  /** @type {import("ol/layer/Base.js").default[]} */
  let beneath = [];

  const shown = () => /** @type {Slide} */ (store.get().slide);
  /** @type {(() => void)[]} */
  const movers = [];
  let moving = false;

  /** Tell of a move once all parts of it are made. */
  function move() {
    if (moving) return;
    moving = true;
    queueMicrotask(() => {
      moving = false;
      if (store.get().slide) movers.forEach((listener) => listener());
    });
  }

  /** @returns {Box} the slide pixels in view */
  function box() {
    const [x0, y0, x1, y1] = map.getView().calculateExtent(map.getSize());
    return [x0, -y1, x1, -y0];
  }

  /** @returns {import("./types.js").Point[]} the corners of the view, which a turned view needs */
  function corners() {
    const [w, h] = map.getSize() ?? [0, 0];
    const pixels = [
      [0, 0],
      [w, 0],
      [w, h],
      [0, h],
    ];
    return pixels.map((pixel) => {
      const [x, y] = map.getCoordinateFromPixel(pixel) ?? [0, 0];
      return [x, -y];
    });
  }

  /** The view as the server takes it to count or list in: a box, or the corners of a turned one. */
  const within = () => (map.getView().getRotation() === 0 ? { box_xyxy: box() } : { corners: corners() });

  /** @param {Slide} slide the slide to show */
  function show(slide) {
    const [width, height] = slide.size_px;
    const extent = [0, -height, width, 0];
    const projection = new ol.proj.Projection({
      code: `slide-${slide.number}`,
      units: "pixels",
      extent,
      metersPerUnit: micronsPerPixel(slide) * 1e-6,
    });
    const [w, h] = map.getSize() ?? [1000, 700];
    const whole = Math.max(width / w, height / h);
    map.setView(
      new ol.View({
        projection,
        center: [width / 2, -height / 2],
        resolution: whole * 1.06,
        maxResolution: Math.max(whole * 2, resolutionAt(slide, 1)),
        minResolution: resolutionAt(slide, 160),
        extent,
        constrainOnlyCenter: true,
        showFullExtent: true,
      }),
    );
    map.getView().on("change", move);
    beneath.forEach((layer) => map.removeLayer(layer));
    beneath = [paper(extent)];
    picture = slide.picture_levels ? createSlideLayer(api, slide, projection) : null;
    if (picture) beneath.push(picture.layer);
    beneath.forEach((layer, i) => map.getLayers().insertAt(BENEATH + i, layer));
    controls.forEach((control) => map.removeControl(control));
    controls = slide.mpp ? [scaleLine(scaleBar)] : [];
    controls.forEach((control) => map.addControl(control));
  }

  /** Add the small map. @param {Slide} slide the slide that is shown @param {Blob} thumbnail its picture */
  function showOverview(slide, thumbnail) {
    const control = overviewOf(slide, thumbnail, map.getView().getProjection(), overview);
    controls.push(control);
    map.addControl(control);
  }

  map.on("moveend", () => {
    picture?.cancelBeyond(map.getView().calculateExtent(map.getSize()), map.getView().getResolution() ?? 1);
  });

  return {
    map,
    show,
    showOverview,
    box,
    corners,
    within,
    /** @param {() => void} listener called when the view begins to move to a place, before it is drawn */
    onMove: (listener) => void movers.push(listener),

    /** @returns {View} where the view is */
    view() {
      const view = map.getView();
      const [x, y] = view.getCenter() ?? [0, 0];
      const mag = magnification(shown(), view.getResolution() ?? 1);
      return { x, y: -y, mag, rotation: view.getRotation() };
    },

    /**
     * Move the view.
     * @param {Partial<View>} place what changes
     * @param {boolean} [smooth] whether it is seen moving
     */
    go({ x, y, mag, rotation }, smooth = false) {
      const view = map.getView();
      /** @type {import("ol/View.js").AnimationOptions} */
      const to = { duration: 200 };
      if (x !== undefined && y !== undefined) to.center = [x, -y];
      if (mag !== undefined) to.resolution = resolutionAt(shown(), mag);
      if (rotation !== undefined) to.rotation = rotation;
      view.cancelAnimations();
      if (smooth && !matchMedia("(prefers-reduced-motion: reduce)").matches) return view.animate(to);
      if (to.resolution) view.setResolution(to.resolution);
      if (to.center) view.setCenter(to.center);
      if (to.rotation !== undefined) view.setRotation(to.rotation);
    },

    /** Show the whole slide. */
    fit() {
      const [width, height] = shown().size_px;
      map.getView().setRotation(0);
      map.getView().fit([0, -height, width, 0], { padding: [24, 24, 24, 24] });
    },
  };
}

/** @typedef {ReturnType<typeof createMap>} SlideMap */

/** A scale bar that says "1 mm" where OpenLayers says "1000 μm". @param {HTMLElement} target where it goes */
function scaleLine(target) {
  const line = new ol.control.ScaleLine({ target, minWidth: 64, maxWidth: 160 });
  const render = line.render.bind(line);
  line.render = (event) => {
    render(event);
    const label = target.querySelector(".ol-scale-line-inner");
    const um = parseFloat(/^(\d+) [μµ]m$/.exec(label?.textContent ?? "")?.[1] ?? "0");
    if (label && um >= 1000) label.textContent = `${um / 1000} mm`;
  };
  return line;
}

/** White under the slide, as glass is, also where the slide is missing. @param {number[]} extent the slide */
function paper([x0, y0, x1, y1]) {
  const feature = new ol.Feature(
    new ol.geom.Polygon([
      [
        [x0, y0],
        [x1, y0],
        [x1, y1],
        [x0, y1],
        [x0, y0],
      ],
    ]),
  );
  return new ol.layer.Vector({
    source: new ol.source.Vector({ features: [feature] }),
    style: new ol.style.Style({ fill: new ol.style.Fill({ color: "#fbfbfa" }) }),
  });
}

/**
 * The small map of the whole slide.
 * @param {Slide} slide the slide
 * @param {Blob} thumbnail its picture
 * @param {import("ol/proj/Projection.js").default} projection slide pixels
 * @param {HTMLElement} target where it goes
 */
function overviewOf({ size_px: [width, height] }, thumbnail, projection, target) {
  const extent = [0, -height, width, 0];
  const url = URL.createObjectURL(thumbnail);
  const source = new ol.source.ImageStatic({ url, projection, imageExtent: extent });
  const resolution = Math.max(width / 170, height / 130);
  return new ol.control.OverviewMap({
    target,
    collapsible: false,
    layers: [new ol.layer.Image({ source })],
    view: new ol.View({
      projection,
      center: [width / 2, -height / 2],
      minResolution: resolution,
      maxResolution: resolution,
    }),
  });
}
