/**
 * Which detail a view shows: densities from afar, then points, then outlines. Never a sample of the nuclei.
 * @module
 */

/** @typedef {import("./types.js").Slide} Slide */
/** @typedef {import("./types.js").Box} Box */

/**
 * @typedef {object} Plan
 * @property {"densities"|"points"|"outlines"} kind what is drawn
 * @property {string} detail the server's word for it; empty for densities
 * @property {number} z level of the grid of squares
 */

/** Below this magnification densities are drawn, and points below the second. */
const POINTS_FROM = 1.99; // the buttons give 2 and 10, but for rounding
const OUTLINES_FROM = 9.99;

/** More nuclei in view than this would take more than 3 MB as points, or as outlines. */
const MOST_POINTS = 250_000;
const MOST_OUTLINES = 45_000;

/**
 * Choose what a view shows.
 * @param {Slide} slide the slide
 * @param {number} mag magnification
 * @param {number} ratio device pixels a CSS pixel
 * @param {number} num_in_view nuclei in the view, counted or expected
 * @returns {Plan}
 */
export function chooseDetail(slide, mag, ratio, num_in_view) {
  const last = slide.squares.length - 1;
  if (mag >= OUTLINES_FROM && num_in_view <= MOST_OUTLINES && slide.squares[0]?.outlines) {
    // Each leaves the outline by half a pixel of the screen at most.
    const sharpness = mag * Math.min(ratio, 2);
    const detail = sharpness < 12.1 ? "rough" : sharpness < 20.1 ? "coarse" : sharpness < 40.1 ? "fine" : "full";
    return { kind: "outlines", detail, z: 0 }; // small squares waste least beyond the view
  }
  if (mag >= POINTS_FROM && num_in_view <= MOST_POINTS) {
    return { kind: "points", detail: "points", z: Math.min(mag >= 3.99 ? 2 : 3, last) };
  }
  return { kind: "densities", detail: "", z: -1 };
}

/**
 * The squares of a grid that a box touches, nearest to its middle first.
 * @param {import("./types.js").SquareGrid} grid the grid
 * @param {Box} box level-0 pixels
 * @returns {{column: number, row: number}[]}
 */
export function squaresOf({ side_px, columns, rows }, [x0, y0, x1, y1]) {
  const [u, v] = [(x0 + x1) / 2 / side_px - 0.5, (y0 + y1) / 2 / side_px - 0.5];
  const found = [];
  const right = Math.min(columns - 1, Math.floor(x1 / side_px));
  const bottom = Math.min(rows - 1, Math.floor(y1 / side_px));
  for (let row = Math.max(0, Math.floor(y0 / side_px)); row <= bottom; row++) {
    for (let column = Math.max(0, Math.floor(x0 / side_px)); column <= right; column++) {
      found.push({ column, row, far: Math.hypot(column - u, row - v) });
    }
  }
  return found.sort((a, b) => a.far - b.far);
}
