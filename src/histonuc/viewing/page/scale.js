/**
 * Magnification, microns and pixels. 40× means 0.25 µm a CSS pixel.
 * @module
 */

/** @typedef {import("./types.js").Slide} Slide */

const UM_AT_1X = 10;

/** Microns a pixel; slides without a scale are shown as if scanned at 40×. @param {Slide} slide */
export const micronsPerPixel = ({ mpp }) => mpp ?? UM_AT_1X / 40;

/**
 * Magnification of a view.
 * @param {Slide} slide the slide
 * @param {number} resolution slide pixels a CSS pixel
 */
export const magnification = (slide, resolution) => UM_AT_1X / (resolution * micronsPerPixel(slide));

/**
 * Slide pixels a CSS pixel.
 * @param {Slide} slide the slide
 * @param {number} mag magnification
 */
export const resolutionAt = (slide, mag) => UM_AT_1X / (mag * micronsPerPixel(slide));

const COUNTS = new Intl.NumberFormat("en");

/** @param {number} value a count @returns {string} with separators of thousands */
export const formatCount = (value) => COUNTS.format(value);

/**
 * A measured number with three figures, or a dash.
 * @param {number|string|null|undefined} value the number
 * @param {string} [unit] its unit
 */
export function formatValue(value, unit = "") {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "string") return value;
  const text = Number.isInteger(value) ? formatCount(value) : formatReal(value);
  return unit ? `${text} ${unit}` : text;
}

/**
 * A value of a column, with three places where all its values are shares, so that they stand below each other.
 * @param {import("./types.js").Column} column the column
 * @param {number|string|null} value its value
 */
export function formatOf({ low, high, unit }, value) {
  const share = unit === "" && low !== null && high !== null && low >= 0 && high <= 1;
  return share && typeof value === "number" ? value.toFixed(3) : formatValue(value);
}

/** @param {number} value a number @returns {string} */
function formatReal(value) {
  if (Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return formatCount(Math.round(value));
  return String(Number(value.toPrecision(3)));
}
