/**
 * The mark around the chosen nucleus.
 * @module
 */

import { ol } from "./ol.js";
import { createShapesLayer } from "./shapes_layer.js";

/** The layer. */
export function createSelectionLayer() {
  const { layer, source } = createShapesLayer({
    zIndex: 6,
    style: [
      new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#000000", width: 5 }) }),
      new ol.style.Style({ stroke: new ol.style.Stroke({ color: "#ffffff", width: 2.5 }) }),
    ],
  });
  return {
    layer,
    /** @param {import("./types.js").Nucleus|null} nucleus the chosen one */
    show(nucleus) {
      source.clear();
      if (!nucleus) return;
      const ring = nucleus.outline.map(([x, y]) => [x, -y]);
      source.addFeature(new ol.Feature(new ol.geom.Polygon([[...ring, ring[0]]])));
    },
  };
}
