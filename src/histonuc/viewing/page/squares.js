/**
 * Squares of nuclei: asked for by view, nearest first, cancelled when out of view, kept in a bounded cache.
 * @module
 */

import { wasAborted } from "./api.js";
import { squaresOf } from "./detail.js";

/** @typedef {import("./types.js").Numbers} Numbers */
/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./detail.js").Plan} Plan */

/**
 * @typedef {object} Square
 * @property {number} count nuclei
 * @property {[number, number]} origin_px left top corner
 * @property {number} unit_px level-0 pixels a unit of x, y and the vertices
 * @property {Record<string, Numbers>} arrays struct of arrays, columns among them
 * @property {number} bytes of the arrays
 * @property {boolean} old whether nuclei of it changed since it came
 * @property {import("./square_buffers.js").Buffers|null} buffers what lies on the graphics card
 */

const MOST_BYTES = 96e6;
const AT_ONCE = 6;

/**
 * The cache of one page.
 * @param {object} wiring
 * @param {import("./api.js").Api} wiring.api requests
 * @param {() => void} wiring.onArrival called when a square or a column came
 * @param {(square: Square) => void} wiring.onDrop called when a square leaves the cache
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createSquares({ api, onArrival, onDrop, report }) {
  /** @type {Map<string, Square>} */
  const cache = new Map();
  /** @type {Map<string, AbortController>} */
  const running = new Map();
  /** @type {Set<string>} */
  const failed = new Set();
  let bytes = 0;
  /** @type {{key: string, path: string, columns: string[]}[]} */
  let waiting = [];

  /** @param {string} key @param {Square} square */
  function keep(key, square) {
    const before = cache.get(key);
    cache.delete(key);
    cache.set(key, square);
    bytes += square.bytes - (before?.bytes ?? 0);
    if (before) onDrop(before);
    for (const [old, one] of cache) {
      if (bytes <= MOST_BYTES || old === key) break;
      cache.delete(old);
      bytes -= one.bytes;
      onDrop(one);
    }
  }

  /** @param {{key: string, path: string, columns: string[]}} wish */
  async function load({ key, path, columns }) {
    const controller = new AbortController();
    running.set(key, controller);
    try {
      const known = cache.get(key);
      const present = known?.old ? null : known;
      const lacking = present ? columns.filter((name) => !(name in present.arrays)) : columns;
      const query = new URLSearchParams({
        detail: present ? "none" : key.split("/")[2],
        columns: lacking.join(","),
      });
      const { header, arrays } = await api.binary(`${path}?${query}`, undefined, controller.signal);
      const size = Object.values(arrays).reduce((sum, one) => sum + one.byteLength, 0);
      if (present) {
        Object.assign(present.arrays, Object.fromEntries(lacking.map((name) => [name, arrays[name]])));
        present.bytes += size;
        if (cache.has(key)) bytes += size;
      } else {
        const { count, origin_px, unit_px } = header;
        keep(key, { count, origin_px, unit_px, arrays, bytes: size, buffers: null, old: false });
      }
      onArrival();
    } catch (error) {
      if (wasAborted(error)) return;
      failed.add(key);
      report(/** @type {Error} */ (error));
    } finally {
      if (running.get(key) === controller) running.delete(key);
      next();
    }
  }

  function next() {
    while (running.size < AT_ONCE && waiting.length) {
      const wish = /** @type {typeof waiting[0]} */ (waiting.shift());
      if (!running.has(wish.key)) void load(wish);
    }
  }

  /**
   * Keys of the squares that a view needs, nearest first.
   * @param {import("./types.js").Slide} slide the slide
   * @param {Plan} plan its detail
   * @param {Box} box the view
   */
  function keysOf(slide, plan, [x0, y0, x1, y1]) {
    if (plan.z < 0) return [];
    const grown = plan.kind === "outlines" ? slide.overhang_px : (8 * slide.squares[0].side_px) / 256;
    /** @type {Box} */
    const box = [x0 - grown, y0 - grown, x1 + grown, y1 + grown];
    return squaresOf(slide.squares[plan.z], box).map(
      ({ column, row }) => `${slide.number}/${plan.z}/${plan.detail}/${column}/${row}`,
    );
  }

  return {
    keysOf,

    /**
     * Ask for what a view needs, and cancel what none needs any more.
     * @param {string[]} keys squares of the view, nearest first
     * @param {string[]} columns columns in use
     */
    want(keys, columns) {
      waiting = [];
      const wanted = new Set(keys);
      for (const [key, controller] of running) if (!wanted.has(key)) controller.abort();
      for (const key of keys) {
        const square = cache.get(key);
        if (square) {
          cache.delete(key); // the most recent is last
          cache.set(key, square);
        }
        const whole = square && !square.old && columns.every((name) => name in square.arrays);
        if (whole || failed.has(key) || running.has(key)) continue;
        const [slide, z, , column, row] = key.split("/");
        waiting.push({ key, path: `slides/${slide}/squares/${z}/${column}/${row}`, columns });
      }
      next();
    },

    /**
     * A square that can be drawn now, with these columns.
     * @param {string} key the square
     * @param {string[]} columns columns in use
     */
    ready(key, columns) {
      const square = cache.get(key);
      return square && columns.every((name) => name in square.arrays) ? square : null;
    },

    /** @param {string} key whether there is no point in waiting for it */
    hasFailed: (key) => failed.has(key),

    /** @param {string} key whether a newer one is on its way */
    isOld: (key) => cache.get(key)?.old === true && !failed.has(key),

    /**
     * Ask anew, when they are next wanted, for the squares that touch boxes.
     * @param {import("./types.js").Slide|null} slide the slide
     * @param {Box[]|null} boxes level-0 pixels; null for all squares
     */
    renew(slide, boxes) {
      /** @param {string} key */
      const touches = (key) => {
        const [number, z, , column, row] = key.split("/").map(Number);
        if (!slide || number !== slide.number) return false;
        const { side_px } = slide.squares[z];
        const [x, y] = [column * side_px, row * side_px];
        const far = [x + side_px, y + side_px];
        return boxes === null || boxes.some(([x0, y0, x1, y1]) => x0 < far[0] && y0 < far[1] && x1 > x && y1 > y);
      };
      for (const [key, square] of cache) if (touches(key)) square.old = true;
      for (const [key, controller] of running) {
        if (!touches(key)) continue;
        controller.abort();
        running.delete(key);
      }
      failed.clear();
    },

    /** Every square of the cache, for what was on the graphics card. */
    all: () => cache.values(),

    /** Forget everything, for another slide. */
    clear() {
      waiting = [];
      for (const controller of running.values()) controller.abort();
      for (const square of cache.values()) onDrop(square);
      cache.clear();
      failed.clear();
      bytes = 0;
    },
  };
}

/** @typedef {ReturnType<typeof createSquares>} Squares */
