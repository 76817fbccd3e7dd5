/**
 * Fields of truth and comments of places on the slide: dashed while a field is not complete.
 * @module
 */

import { ol } from "./ol.js";
import { createShapesLayer } from "./shapes_layer.js";

const COLOURS = { complete: "#58e08a", open: "#ffd54a" };

/** The layer. @param {{store: import("./state.js").Store}} wiring the state */
export function createFieldsLayer({ store }) {
  const { layer, source } = createShapesLayer({ zIndex: 4 });
  store.watch(["corrections"], ({ corrections }) => {
    const fields = corrections?.fields ?? [];
    source.clear();
    for (const { ring, complete } of fields) {
      const line = ring.map(([x, y]) => [x, -y]);
      const feature = new ol.Feature(new ol.geom.Polygon([[...line, line[0]]]));
      const colour = complete ? COLOURS.complete : COLOURS.open;
      feature.setStyle([
        new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#000000a0", width: 4.5 }) }),
        new ol.style.Style({
          stroke: new ol.style.Stroke({ color: colour, width: 2.5, lineDash: complete ? undefined : [9, 7] }),
        }),
      ]);
      source.addFeature(feature);
    }
  });
  return layer;
}
