/**
 * The slide's own picture as tiles of the map; loads are cancelled when their tiles leave the view.
 * @module
 */

import { ServerError, wasAborted } from "./api.js";
import { ol } from "./ol.js";

/** @typedef {import("./types.js").Slide} Slide */

/** States of a tile in OpenLayers, which its built file does not export. */
const TILE_STATE = { IDLE: 0, ERROR: 3 };

/** Milliseconds in which tiles that come are shown together: each picture draws all of them anew. */
const TOGETHER_MS = 50;

/** A tile of hatching, where the slide is damaged. @param {number} side pixels */
function hatching(side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = "#e9e9e6";
  pen.fillRect(0, 0, side, side);
  pen.strokeStyle = "#b9b9b4";
  pen.lineWidth = 3;
  for (let i = -side; i < side; i += 24) {
    pen.moveTo(i, side);
    pen.lineTo(i + side, 0);
  }
  pen.stroke();
  return canvas;
}

/**
 * The layer of a slide that is there.
 * @param {import("./api.js").Api} api requests
 * @param {Slide} slide the slide
 * @param {import("ol/proj/Projection.js").default} projection slide pixels
 */
export function createSlideLayer(api, slide, projection) {
  const { tile_px, count } = /** @type {NonNullable<Slide["picture_levels"]>} */ (slide.picture_levels);
  const [width, height] = slide.size_px;
  const tileGrid = new ol.tilegrid.TileGrid({
    extent: [0, -height, width, 0],
    origin: [0, 0],
    resolutions: Array.from({ length: count }, (_, z) => 2 ** (count - 1 - z)),
    tileSize: tile_px,
  });
  /** @type {Map<import("ol/ImageTile.js").default, AbortController>} */
  const running = new Map();
  /** @type {Promise<void>|null} */
  let turn = null;

  /** The next moment at which tiles are shown. */
  const nextTurn = () =>
    (turn ??= new Promise((done) =>
      setTimeout(() => {
        turn = null;
        done();
      }, TOGETHER_MS),
    ));

  /** @param {import("ol/Tile.js").default} tile @param {string} path */
  async function load(tile, path) {
    const image = /** @type {import("ol/ImageTile.js").default} */ (tile);
    const controller = new AbortController();
    running.set(image, controller);
    try {
      const reply = await api.request(path, { signal: controller.signal, priority: "low" });
      const address = URL.createObjectURL(await reply.blob());
      await nextTurn();
      const element = /** @type {HTMLImageElement} */ (image.getImage());
      const free = () => URL.revokeObjectURL(address);
      element.addEventListener("load", free, { once: true });
      element.addEventListener("error", free, { once: true });
      element.src = address;
    } catch (error) {
      if (error instanceof ServerError && error.status === 409) {
        image.setImage(hatching(tile_px));
        return;
      }
      image.setState(TILE_STATE.ERROR);
      if (wasAborted(error)) image.setState(TILE_STATE.IDLE); // may be asked for again
    } finally {
      running.delete(image);
    }
  }

  const source = new ol.source.TileImage({
    projection,
    tileGrid,
    transition: 0,
    tileUrlFunction: ([z, x, y]) => `slides/${slide.number}/tiles/${count - 1 - z}/${x}/${y}`,
    tileLoadFunction: (tile, path) => void load(tile, path),
  });
  const layer = new ol.layer.Tile({ source, extent: [0, -height, width, 0], cacheSize: 64 });

  return {
    layer,

    /**
     * Cancel loads of tiles that are out of view or of another level.
     * @param {number[]} extent the view
     * @param {number} resolution slide pixels a CSS pixel
     */
    cancelBeyond(extent, resolution) {
      const z = tileGrid.getZForResolution(resolution, source.zDirection);
      for (const [tile, controller] of running) {
        const coord = tile.getTileCoord();
        const inside = ol.extent.intersects(tileGrid.getTileCoordExtent(coord), extent);
        if (!inside || Math.abs(coord[0] - z) > 1) controller.abort();
      }
    },
  };
}
