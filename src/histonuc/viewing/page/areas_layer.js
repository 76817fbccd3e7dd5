/**
 * The layer of what the run left out or doubts: skipped, flagged and inked areas, and the regions that were given to it.
 * @module
 */

import { latest } from "./api.js";
import { ol } from "./ol.js";

/** @typedef {import("./types.js").Area} Area */

/** Colour and word of each kind; the dashes differ as well, for people who cannot tell the colours apart. */
export const AREA_KINDS = {
  skipped: { colour: "#d92b2b", dash: [], word: "Skipped" },
  flagged: { colour: "#e08a00", dash: [10, 5], word: "Flagged" },
  ink: { colour: "#7b3fe4", dash: [3, 4], word: "Ink" },
  drawn: { colour: "#1a73e8", dash: [14, 4, 3, 4], word: "Given region" },
};

/** @param {Area["kind"]} kind which areas @returns {import("ol/style/Style.js").default} */
function styleOf(kind) {
  const { colour, dash } = AREA_KINDS[kind];
  return new ol.style.Style({
    stroke: new ol.style.Stroke({ color: colour, width: 2, lineDash: dash }),
    fill: new ol.style.Fill({ color: kind === "drawn" ? "#0000" : `${colour}1f` }),
  });
}

/**
 * The layer.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {(areas: Area[]) => void} wiring.onAreas called with the areas of a slide
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createAreasLayer({ store, api, onAreas, report }) {
  const source = new ol.source.Vector();
  const layer = new ol.layer.Vector({ source, zIndex: 4 });
  const ask = latest(report);
  const show = () => layer.setVisible(store.get().areas && source.getFeatures().length > 0);

  store.watch(["slide"], ({ slide }) => {
    source.clear();
    show();
    onAreas([]);
    if (!slide?.has_nuclei) return;
    void ask(async (signal) => {
      /** @type {{areas: Area[]}} */
      const { areas } = await api.json(`slides/${slide.number}/areas`, undefined, signal);
      source.addFeatures(
        areas.map(({ kind, polygons }) => {
          const shape = polygons.map((rings) => rings.map((ring) => ring.map(([x, y]) => [x, -y])));
          const feature = new ol.Feature(new ol.geom.MultiPolygon(shape));
          feature.setStyle(styleOf(kind));
          return feature;
        }),
      );
      show();
      onAreas(areas);
    });
  });
  store.watch(["areas"], show);
  return layer;
}
