/**
 * Counts of nuclei per class on a grid over the whole slide: the picture from afar, and the counts that the page shows.
 * @module
 */

import { latest } from "./api.js";
import { classColour, colouring, parseColour, rampColour } from "./colours.js";
import { classShown, filtersOf } from "./state.js";

/** @typedef {import("./state.js").State} State */

/**
 * @typedef {object} Densities
 * @property {number} cell_px side of a cell
 * @property {number} columns cells along x
 * @property {number} rows cells along y
 * @property {number[]} totals nuclei of each class that pass the filters
 * @property {import("./types.js").Numbers} counts [class, row, column]
 * @property {string} mean column whose sums are there as well; empty for none
 * @property {import("./types.js").Numbers|undefined} sums of that column [class, row, column]
 * @property {import("./types.js").Numbers|undefined} valued nuclei that have a value [class, row, column]
 */

/**
 * The picture: the mean colour of the shown classes, or the colour of their mean in a column once its sums
 * came; the more opaque the more nuclei. Premultiplied.
 * @param {Densities} densities the counts
 * @param {State} state classes and colours
 * @returns {Uint8Array} [row, column, 4]
 */
export function densityTexels(densities, state) {
  const { columns, rows, counts, totals } = densities;
  const num = columns * rows;
  const sums = densities.mean === state.colourBy ? addMeans(densities, state) : addClasses(densities, state);
  const full = fullCount(counts, num, totals.length);
  const texels = new Uint8Array(4 * num);
  for (let i = 0; i < 4 * num; i += 4) {
    const n = sums[i + 3];
    if (!n) continue;
    const alpha = Math.min(1, 0.3 + 0.7 * Math.sqrt(n / full));
    for (let c = 0; c < 3; c++) texels[i + c] = (sums[i + c] / n) * alpha;
    texels[i + 3] = 255 * alpha;
  }
  return texels;
}

/**
 * Colours of the shown classes, added up.
 * @param {Densities} densities the counts
 * @param {State} state classes and colours
 * @returns {Float32Array} [cell, 4]: red, green and blue times nuclei, and nuclei
 */
function addClasses({ columns, rows, counts, totals }, state) {
  const num = columns * rows;
  const sums = new Float32Array(4 * num);
  totals.forEach((_, index) => {
    if (!classShown(state, index)) return;
    const [red, green, blue] = parseColour(classColour(state, index));
    for (let i = 0, k = index * num; i < num; i++, k++) {
      const n = counts[k];
      if (!n) continue;
      sums[4 * i] += n * red;
      sums[4 * i + 1] += n * green;
      sums[4 * i + 2] += n * blue;
      sums[4 * i + 3] += n;
    }
  });
  return sums;
}

/**
 * The colour of the mean of a column in each cell, as `addClasses` gives colours; grey where no nucleus has a value.
 * @param {Densities} densities the counts and sums
 * @param {State} state classes and colours
 * @returns {Float32Array} [cell, 4]
 */
function addMeans({ columns, rows, counts, totals, sums, valued }, state) {
  const num = columns * rows;
  const texels = new Float32Array(4 * num);
  const by = colouring(state);
  if (!by || !sums || !valued) return texels;
  const ramp = Array.from({ length: 256 }, (_, i) => parseColour(rampColour(state.palette, i / 255)));
  const classes = [...totals.keys()].filter((index) => classShown(state, index));
  const scale = 255 / Math.max(by.high - by.low, 1e-9);
  for (let i = 0; i < num; i++) {
    let [n, some, sum] = [0, 0, 0];
    for (const index of classes) {
      n += counts[index * num + i];
      some += valued[index * num + i];
      sum += sums[index * num + i];
    }
    if (!n) continue;
    const place = Math.round(Math.min(Math.max((sum / some - by.low) * scale, 0), 255));
    const colour = some ? ramp[place] : [153, 153, 153];
    for (let c = 0; c < 3; c++) texels[4 * i + c] = n * colour[c];
    texels[4 * i + 3] = n;
  }
  return texels;
}

/**
 * The count that is drawn opaque: that of all classes in the fullest cell.
 * @param {import("./types.js").Numbers} counts [class, cell]
 * @param {number} num cells
 * @param {number} num_classes classes
 */
function fullCount(counts, num, num_classes) {
  let full = 1;
  for (let i = 0; i < num; i++) {
    let sum = 0;
    for (let k = 0; k < num_classes; k++) sum += counts[k * num + i];
    if (sum > full) full = sum;
  }
  return full;
}

/**
 * Sums over all classes from the left top corner, so that any box is counted by four of them.
 * @param {Densities} densities the counts
 * @returns {(box: import("./types.js").Box) => number} about how many nuclei lie in a box
 */
export function boxCounter({ cell_px, columns, rows, counts, totals }) {
  const sums = new Float64Array((columns + 1) * (rows + 1));
  for (let r = 0; r < rows; r++) {
    let line = 0;
    for (let c = 0; c < columns; c++) {
      for (let k = 0; k < totals.length; k++) line += counts[(k * rows + r) * columns + c];
      sums[(r + 1) * (columns + 1) + c + 1] = sums[r * (columns + 1) + c + 1] + line;
    }
  }
  /** @param {number} value @param {number} most */
  const cell = (value, most) => Math.min(Math.max(value, 0), most);
  return ([x0, y0, x1, y1]) => {
    const [a, b] = [cell(Math.floor(x0 / cell_px), columns), cell(Math.ceil(x1 / cell_px), columns)];
    const [c, d] = [cell(Math.floor(y0 / cell_px), rows), cell(Math.ceil(y1 / cell_px), rows)];
    const width = columns + 1;
    return sums[d * width + b] - sums[c * width + b] - sums[d * width + a] + sums[c * width + a];
  };
}

/**
 * The densities of the slide under the filters, counted by the server whenever a filter changes.
 * @param {object} wiring
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./state.js").Store} wiring.store the state
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createDensities({ api, store, report }) {
  const ask = latest(report);
  /** @type {((densities: Densities|null) => void)[]} */
  const listeners = [];
  /** @type {{slide: State["slide"], densities: Densities|null, countIn: ReturnType<typeof boxCounter>|null, waiting: boolean}} */
  const now = { slide: null, densities: null, countIn: null, waiting: false };
  let mean = ""; // the column whose means were asked for last
  const tell = () => listeners.forEach((listener) => listener(now.densities));

  /** @param {number} delay milliseconds to wait first */
  function load(delay) {
    const state = store.get();
    const { slide } = state;
    if (!slide?.has_nuclei) return tell();
    now.waiting = true;
    tell();
    void ask(async (signal) => {
      const body = { filters: filtersOf(state, { classes: false }), ...(mean && { mean }) };
      const { header, arrays } = await api.binary(`slides/${slide.number}/density`, body, signal);
      const { cell_px, columns, rows, totals } = header;
      const { counts, sums, valued } = arrays;
      now.densities = { cell_px, columns, rows, totals, counts, mean, sums, valued };
      now.countIn ??= boxCounter(now.densities); // the first has no filters: all that may be drawn
      now.waiting = false;
      tell();
    }, delay);
  }

  store.watch(["slide", "ranges"], ({ slide, colourBy }) => {
    const fresh = slide !== now.slide;
    if (fresh) Object.assign(now, { slide, densities: null, countIn: null });
    if (fresh || colourBy !== mean) mean = "";
    load(fresh ? 0 : 60);
  });
  store.watch(["version"], () => load(150)); // squares first

  return {
    /** @returns {Densities|null} the counts under the filters; null before they came */
    get: () => now.densities,
    /** @returns {boolean} whether the filters changed since these counts */
    waiting: () => now.waiting,
    /** @param {import("./types.js").Box} box about how many nuclei lie in it; 0 while unknown */
    countIn: (box) => now.countIn?.(box) ?? 0,
    /** @param {(densities: Densities|null) => void} listener called when the counts change or are awaited */
    onChange: (listener) => void listeners.push(listener),
    /** Ask for the sums that the colours need, where they are not there: only when densities are drawn. */
    wantColours() {
      const { colourBy } = store.get();
      if (colourBy === "class" || colourBy === mean || !now.countIn) return;
      mean = colourBy;
      load(0);
    },
  };
}

/** @typedef {ReturnType<typeof createDensities>} DensitySource */
