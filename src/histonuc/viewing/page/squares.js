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

/** @typedef {{key: string, columns: string[], alone: boolean}} Wish */

/** Some twenty views of outlines: what was left a moment ago is there at once. */
const MOST_BYTES = 40e6;
const AT_ONCE = 6;
/** Squares in one request: a request costs the server as much as a square. */
const TOGETHER = 6;

/**
 * The cache of one page.
 * @param {object} wiring
 * @param {import("./api.js").Api} wiring.api requests
 * @param {(squares: Square[], all: boolean) => void} wiring.onArrival called when squares or columns came, and whether
 *   they were the last that was asked for
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
  /** @type {Wish[]} */
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

  /**
   * Put what came into the cache.
   * @param {string} key which square
   * @param {import("./protocol.js").Reply} reply the whole square, or columns that it lacked
   */
  function take(key, { header, arrays }) {
    const { count, origin_px, unit_px, detail } = header;
    const present = detail === "none" ? cache.get(key) : null;
    if (detail === "none" && (!present || present.old)) return; // let go of, or changed, while its columns were on the way
    /** @type {Square} */
    const square = present ?? { count, origin_px, unit_px, arrays: {}, bytes: 0, old: false, buffers: null };
    const before = square.bytes;
    for (const [name, values] of Object.entries(arrays)) {
      if (name in square.arrays) continue;
      square.arrays[name] = values;
      square.bytes += values.byteLength;
    }
    if (present) bytes += square.bytes - before;
    else keep(key, square);
  }

  /**
   * Cancel requests. Their squares may be asked for again at once.
   * @param {(key: string) => boolean} unwanted which squares
   * @param {"some"|"every"} of whether a request goes with one of them, or with all of its squares
   */
  function cancel(unwanted, of) {
    for (const controller of new Set(running.values())) {
      const keys = [...running].flatMap(([key, one]) => (one === controller ? [key] : []));
      if (!keys[of](unwanted)) continue;
      controller.abort();
      keys.forEach((key) => running.delete(key));
    }
  }

  /**
   * What a request for a wish has in common with others that can go with it.
   * @param {Wish} wish the wish
   */
  function addressOf({ key, columns }) {
    const [slide, z, detail] = key.split("/");
    const known = cache.get(key);
    const present = known?.old ? null : known;
    const lacking = present ? columns.filter((name) => !(name in present.arrays)) : columns;
    const query = new URLSearchParams({ detail: present ? "none" : detail, columns: lacking.join(",") });
    return `slides/${slide}/squares/${z}?${query}`;
  }

  /** @param {Wish[]} wishes with one address @param {string} address */
  async function load(wishes, address) {
    const controller = new AbortController();
    for (const { key } of wishes) running.set(key, controller);
    const places = wishes.map(({ key }) => key.split("/").slice(3).join(","));
    try {
      const replies = await api.binaries(`${address}&places=${places.join(";")}`, controller.signal);
      replies.forEach((reply, i) => take(wishes[i].key, reply));
    } catch (error) {
      if (wasAborted(error)) return;
      // Where one square is damaged, the others come by themselves.
      if (wishes.length > 1) waiting.push(...wishes.map((wish) => ({ ...wish, alone: true })));
      else {
        failed.add(wishes[0].key);
        report(/** @type {Error} */ (error));
      }
    } finally {
      for (const { key } of wishes) if (running.get(key) === controller) running.delete(key);
      next();
    }
    onArrival(
      wishes.flatMap(({ key }) => cache.get(key) ?? []),
      running.size === 0,
    );
  }

  function next() {
    while (new Set(running.values()).size < AT_ONCE && waiting.length) {
      const [first] = waiting;
      const address = addressOf(first);
      const most = first.alone ? 1 : TOGETHER;
      const wishes = waiting
        .filter((wish) => !wish.alone === !first.alone && addressOf(wish) === address)
        .slice(0, most);
      waiting = waiting.filter((wish) => !wishes.includes(wish));
      void load(wishes, address);
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
      cancel((key) => !wanted.has(key), "every");
      for (const key of keys) {
        const square = cache.get(key);
        if (square) {
          cache.delete(key); // the most recent is last
          cache.set(key, square);
        }
        const whole = square && !square.old && columns.every((name) => name in square.arrays);
        if (whole || failed.has(key) || running.has(key)) continue;
        waiting.push({ key, columns, alone: false });
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
      cancel(touches, "some");
      failed.clear();
    },

    /** Every square of the cache, for what was on the graphics card. */
    all: () => cache.values(),

    /** Forget everything, for another slide. */
    clear() {
      waiting = [];
      cancel(() => true, "every");
      for (const square of cache.values()) onDrop(square);
      cache.clear();
      failed.clear();
      bytes = 0;
    },
  };
}

/** @typedef {ReturnType<typeof createSquares>} Squares */
