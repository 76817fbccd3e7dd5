/**
 * The layer of what the run left out or doubts: skipped, flagged and inked areas, and the regions that were given to it;
 * and the border of the tissue.
 * @module
 */

import { latest } from "./api.js";
import { ol } from "./ol.js";
import { createShapesLayer } from "./shapes_layer.js";

/** @typedef {import("./types.js").Area} Area */

/** Colour and word of each kind; the dashes differ as well, for people who cannot tell the colours apart. */
export const AREA_KINDS = {
  skipped: { colour: "#d92b2b", dash: [], word: "Skipped" },
  flagged: { colour: "#e08a00", dash: [10, 5], word: "Flagged" },
  ink: { colour: "#7b3fe4", dash: [3, 4], word: "Ink" },
  drawn: { colour: "#1a73e8", dash: [14, 4, 3, 4], word: "Given region" },
  tissue: { colour: "#00796b", dash: [], word: "Tissue" },
};

/** @type {Record<string, import("ol/style/Style.js").default>} */
const styles = Object.fromEntries(
  Object.entries(AREA_KINDS).map(([kind, { colour, dash }]) => [
    kind,
    new ol.style.Style({
      stroke: new ol.style.Stroke({ color: colour, width: 2, lineDash: dash }),
      fill: new ol.style.Fill({ color: kind === "drawn" || kind === "tissue" ? "#0000" : `${colour}1f` }),
    }),
  ]),
);

/**
 * The layer.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {(areas: Area[]) => void} wiring.onAreas called with the areas of a slide
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createAreasLayer({ store, api, onAreas, report }) {
  const { layer, source } = createShapesLayer({ zIndex: 4, style: (feature) => styles[feature.get("kind")] });
  const [ask, askTissue] = [latest(report), latest(report)];
  /** @type {import("./types.js").Slide|null} whose tissue is in the layer */
  let withTissue = null;

  /** Which kinds are drawn. */
  function show() {
    const { areas, tissue } = store.get();
    for (const feature of source.getFeatures()) {
      const shown = feature.get("kind") === "tissue" ? tissue : areas;
      feature.setStyle(shown ? undefined : []);
    }
  }

  /** @param {Area[]} areas areas to be drawn as well */
  function add(areas) {
    source.addFeatures(
      areas.map(({ kind, polygons }) => {
        const shape = polygons.map((rings) => rings.map((ring) => ring.map(([x, y]) => [x, -y])));
        return new ol.Feature({ geometry: new ol.geom.MultiPolygon(shape), kind });
      }),
    );
    show();
  }

  store.watch(["slide"], ({ slide }) => {
    source.clear();
    show();
    onAreas([]);
    if (!slide?.has_nuclei) return;
    void ask(async (signal) => {
      /** @type {{areas: Area[]}} */
      const { areas } = await api.json(`slides/${slide.number}/areas`, undefined, signal);
      add(areas);
      onAreas(areas);
    });
  });
  store.watch(["slide", "tissue"], ({ slide, tissue }) => {
    if (!tissue || !slide?.picture_levels || slide === withTissue) return;
    // It is looked for in the slide, which takes a moment: only when it is wanted.
    void askTissue(async (signal) => {
      /** @type {{areas: Area[]}} */
      const { areas } = await api.json(`slides/${slide.number}/areas?kind=tissue`, undefined, signal);
      if (store.get().slide !== slide) return;
      withTissue = slide;
      add(areas);
    });
  });
  store.watch(["areas", "tissue"], show);
  return layer;
}
