/**
 * Regions that a person draws: their shapes on the map, the tools that draw them, and their counts.
 * @module
 */

import { latest } from "./api.js";
import { ol } from "./ol.js";
import { createShapesLayer } from "./shapes_layer.js";
import { filtersOf } from "./state.js";

/** @typedef {import("./types.js").Region} Region */
/** @typedef {import("./types.js").RegionCount} RegionCount */
/** @typedef {import("./types.js").Point} Point */

/** @typedef {{feature: import("ol/Feature.js").default, name: string, class_name: string, count: RegionCount|null}} Drawn */

/** @param {Point[]} ring between level-0 pixels and the map, which differ by the sign of y */
const mirrored = (ring) => ring.map(([x, y]) => /** @type {Point} */ ([x, -y]));

/** Tools that draw regions; what others draw is for `pen.js`. */
const DRAWN = ["rectangle", "polygon", "freehand"];

/** Makes rectangles of two corners; ol.d.ts does not list it. */
const { createBox } = /** @type {any} */ (ol.interaction.Draw);

/** @param {boolean} chosen whether the region is chosen */
const style = (chosen) => [
  new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#00000099", width: chosen ? 5 : 4 }) }),
  new ol.style.Style({
    stroke: new ol.style.Stroke({ color: chosen ? "#ffffff" : "#ffd54a", width: chosen ? 2.5 : 2 }),
    fill: new ol.style.Fill({ color: "#ffd54a14" }),
  }),
];

/**
 * The regions of the slide that is shown.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createRegions({ store, api, camera, report }) {
  const { map } = camera;
  const { layer, source } = createShapesLayer({ zIndex: 5, style: (feature) => style(feature === chosen?.feature) });
  const modify = new ol.interaction.Modify({ source });
  const ask = latest(report);
  /** @type {Drawn[]} */
  let regions = [];
  /** @type {Drawn|null} */
  let chosen = null;
  /** @type {import("ol/interaction/Draw.js").default|null} */
  let draw = null;
  let number = 0;
  /** @type {(() => void)[]} */
  const listeners = [];
  const tell = () => {
    layer.changed();
    listeners.forEach((listener) => listener());
  };

  /** @param {Drawn} drawn @returns {Region} */
  function regionOf({ feature, name, class_name }) {
    const shape = feature.getGeometry();
    const geometry = /** @type {import("ol/geom/Polygon.js").default|import("ol/geom/MultiPolygon.js").default} */ (
      shape
    );
    const polygons = geometry instanceof ol.geom.MultiPolygon ? geometry.getCoordinates() : [geometry.getCoordinates()];
    return {
      name,
      class_name,
      polygons: polygons.map((rings) => rings.map((ring) => mirrored(/** @type {Point[]} */ (ring)))),
    };
  }

  /** What the server counts: every class, so that showing a class needs no request. */
  const body = () => ({
    regions: regions.map(regionOf),
    filters: filtersOf(store.get(), { classes: false }),
  });

  /** @param {number} [delay] milliseconds */
  function count(delay = 0) {
    const { slide } = store.get();
    if (!slide || !regions.length) return;
    const asked = regions;
    regions.forEach((one) => (one.count = null));
    void ask(async (signal) => {
      if (regions !== asked || store.get().slide !== slide) return; // changed while waiting: a newer count follows
      const reply = await api.json(`slides/${slide.number}/regions/count`, body(), signal);
      asked.forEach((one, i) => (one.count = reply.regions[i]));
      tell();
    }, delay);
  }

  /** @param {import("ol/Feature.js").default} feature @param {string} [name] @param {string} [class_name] */
  function append(feature, name, class_name = "") {
    number += 1;
    const region = { feature, name: name || `Region ${number}`, class_name, count: null };
    regions = [...regions, region];
    chosen = region;
    return region;
  }

  /** @param {string} tool the tool to draw with */
  function use(tool) {
    if (draw) map.removeInteraction(draw);
    draw = null;
    map.getTargetElement()?.classList.toggle("drawing", tool !== "move");
    const zoom = map
      .getInteractions()
      .getArray()
      .find((one) => one instanceof ol.interaction.DoubleClickZoom);
    // OpenLayers takes two quick clicks anywhere for a double click, the last of a shape as well.
    setTimeout(() => zoom?.setActive(store.get().tool === "move"), tool === "move" ? 400 : 0);
    if (!DRAWN.includes(tool)) return;
    draw = new ol.interaction.Draw({
      source,
      type: tool === "rectangle" ? "Circle" : "Polygon",
      freehand: tool === "freehand",
      geometryFunction: tool === "rectangle" ? createBox() : undefined,
      style: [
        ...style(true),
        new ol.style.Style({
          image: new ol.style.Circle({
            radius: 4,
            fill: new ol.style.Fill({ color: "#fff" }),
            stroke: new ol.style.Stroke({ color: "#000", width: 1.5 }),
          }),
        }),
      ],
    });
    draw.on("drawend", ({ feature }) => {
      append(feature);
      store.set({ tool: "move" });
      tell();
      setTimeout(() => count()); // the shape is in the source only after this event
    });
    map.addInteraction(draw);
  }

  map.addLayer(layer);
  map.addInteraction(modify);
  modify.on("modifyend", () => count());
  store.watch(["tool"], ({ tool }) => use(tool));
  store.watch(["ranges", "version"], () => count(80));
  store.watch(["slide"], () => {
    source.clear();
    regions = [];
    chosen = null;
    number = 0;
    tell();
  });

  return {
    all: () => regions,
    chosen: () => chosen,
    /** @param {() => void} listener called when regions or their counts change */
    onChange: (listener) => void listeners.push(listener),
    body,
    /** Close the polygon that is being drawn. */
    finish: () => draw?.finishDrawing(),
    /** Take back the last corner. */
    undoCorner: () => draw?.removeLastPoint(),

    /**
     * Add a region from outside: of a file, or the view itself.
     * @param {Region} region its shape and names
     */
    add({ name, class_name, polygons }) {
      const shapes = polygons.map((rings) => rings.map(mirrored));
      const feature = new ol.Feature(new ol.geom.MultiPolygon(shapes));
      append(feature, name, class_name);
      source.addFeature(feature);
      tell();
      count(20);
    },

    /** @param {Drawn} region @param {{name?: string, class_name?: string}} names new ones */
    rename: (region, names) => Object.assign(region, names),

    /** @param {Drawn} region */
    remove(region) {
      source.removeFeature(region.feature);
      regions = regions.filter((one) => one !== region);
      if (chosen === region) chosen = null;
      tell();
    },

    /** Show a region in the middle. @param {Drawn} region */
    choose(region) {
      chosen = region;
      const geometry = region.feature.getGeometry();
      if (geometry) map.getView().fit(geometry.getExtent(), { padding: [60, 60, 60, 60], duration: 200 });
      tell();
    },
  };
}

/** @typedef {ReturnType<typeof createRegions>} Regions */
