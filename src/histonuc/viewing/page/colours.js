/**
 * Colours of classes and of numbers, and how a nucleus looks: the same rule as the graphics card's, for lists, snapshots and clicks.
 * @module
 */

import { classShown } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./types.js").Column} Column */

// viridis and cividis at nine equal steps; cividis for people who see no red and green.
const RAMPS = {
  standard: ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"],
  safe: ["#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dfc84d", "#fee838"],
};

/** @param {string} hex "#rrggbb" @returns {number[]} three numbers from 0 to 255 */
export const parseColour = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/**
 * Colour of a class in the palette that is chosen.
 * @param {State} state the state
 * @param {number} index number of the class
 */
export function classColour({ classes, palette }, index) {
  const entry = classes[index];
  return (palette === "safe" ? entry?.safe_colour : entry?.colour) ?? "#9aa0a6";
}

/**
 * Colour of a number on the ramp.
 * @param {State["palette"]} palette which ramp
 * @param {number} share 0 to 1
 */
export function rampColour(palette, share) {
  const stops = RAMPS[palette];
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const [low, high] = [parseColour(stops[Math.floor(place)]), parseColour(stops[Math.ceil(place)])];
  const mixed = low.map((v, i) => Math.round(v + (high[i] - v) * (place % 1)));
  return `#${mixed.map((v) => v.toString(16).padStart(2, "0")).join("")}`;
}

/** @param {State["palette"]} palette which ramp @returns {string} CSS gradient from low to high */
export const rampGradient = (palette) => `linear-gradient(to right, ${RAMPS[palette].join(", ")})`;

/**
 * Two rows of 256 colours for the graphics card: classes with alpha 0 where hidden, and the ramp.
 * @param {State} state the state
 */
export function paletteTexels(state) {
  const texels = new Uint8Array(2 * 256 * 4);
  for (let i = 0; i < 256; i++) {
    texels.set([...parseColour(classColour(state, i)), classShown(state, i) ? 255 : 0], 4 * i);
    texels.set([...parseColour(rampColour(state.palette, i / 255)), 255], 4 * (256 + i));
  }
  return texels;
}

/**
 * The limits of a filter in the numbers that travel, exactly as the server compares them.
 * @param {Column} column the column
 * @param {import("./types.js").Range} range least and largest value, null is open
 * @returns {[number, number]}
 */
export function storedLimits({ step }, [low, high]) {
  if (step === null) {
    return [low === null ? -3.4e38 : Math.fround(low), high === null ? 3.4e38 : Math.fround(high)];
  }
  return [low === null ? -1 : Math.ceil(low / step - 1e-6), high === null ? 1e9 : Math.floor(high / step + 1e-6)];
}

/**
 * The values between which the ramp runs: the filter's where there is one, else the column's.
 * @param {State} state the state
 * @returns {{column: Column, low: number, high: number}|null} null where classes give the colours
 */
export function colouring({ slide, colourBy, ranges }) {
  const column = slide?.columns.find(({ name }) => name === colourBy);
  if (!column) return null;
  const [low, high] = ranges[colourBy] ?? [null, null];
  return { column, low: low ?? column.low ?? 0, high: high ?? column.high ?? 1 };
}

/**
 * Colour of one nucleus, or null where it is not drawn.
 * @param {State} state the state
 * @param {number} index number of its class
 * @param {(column: string) => number} stored its number in a column, as it travels
 * @returns {string|null}
 */
export function nucleusColour(state, index, stored) {
  if (!classShown(state, index)) return null;
  for (const [name, range] of Object.entries(state.ranges)) {
    const column = state.slide?.columns.find((one) => one.name === name);
    if (!column) continue;
    const [low, high] = storedLimits(column, range);
    const value = stored(name);
    if (!(value >= low && value <= high)) return null;
  }
  const by = colouring(state);
  if (!by) return classColour(state, index);
  const value = stored(by.column.name) * (by.column.step ?? 1);
  if (Number.isNaN(value)) return "#999999";
  return rampColour(state.palette, (value - by.low) / Math.max(by.high - by.low, 1e-9));
}

/**
 * Names of the columns that filters and the colouring need.
 * @param {State} state the state
 */
export function columnsInUse({ slide, ranges, colourBy }) {
  const names = new Set(Object.keys(ranges));
  if (colourBy !== "class") names.add(colourBy);
  return [...names].filter((name) => slide?.columns.some((column) => column.name === name)).sort();
}
