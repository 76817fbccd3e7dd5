/**
 * A layer of the map with shapes: areas, regions, fields, what is chosen, what is being drawn.
 * @module
 */

import { ol } from "./ol.js";

/**
 * The layer and what is in it. Chromium may go on showing a canvas that was only cleared, so a layer without shapes
 * is not drawn at all, and one whose shapes all lie out of view has a pixel that nobody can see.
 * @param {object} options
 * @param {number} options.zIndex what lies over what
 * @param {import("ol/style/Style.js").StyleLike} [options.style] of its shapes, unless they have one of their own
 */
export function createShapesLayer(options) {
  const source = new ol.source.Vector();
  const layer = new ol.layer.Vector({ ...options, source, visible: false });
  source.on("change", () => layer.setVisible(!source.isEmpty()));
  layer.on("postrender", ({ context }) => {
    const pen = /** @type {CanvasRenderingContext2D} */ (context);
    pen.fillStyle = "#00000001";
    pen.fillRect(0, 0, 1, 1);
  });
  return { layer, source };
}
