/**
 * Which nucleus lies at a place, among those that are drawn.
 * @module
 */

import { nucleusColour } from "./colours.js";

/** @typedef {import("./squares.js").Square} Square */

/**
 * Whether a point lies in a ring (even-odd).
 * @param {import("./types.js").Numbers} vertices x0, y0, x1, y1, …
 * @param {number} first number of the ring's first vertex
 * @param {number} end number after its last
 * @param {number} x in the units of the vertices
 * @param {number} y in the units of the vertices
 */
function ringHolds(vertices, first, end, x, y) {
  let inside = false;
  for (let i = first, j = end - 1; i < end; j = i++) {
    const [xi, yi, xj, yj] = [vertices[2 * i], vertices[2 * i + 1], vertices[2 * j], vertices[2 * j + 1]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/**
 * Whether a nucleus of a square is drawn, by classes and filters.
 * @param {import("./state.js").State} state the state
 * @param {Square} square the square
 * @param {number} i its place in the square
 */
const isDrawn = (state, { arrays }, i) =>
  nucleusColour(state, arrays.class[i], (name) => arrays[name]?.[i] ?? NaN) !== null;

/**
 * The nucleus at a place: the one whose outline holds it, else the one with the nearest centroid.
 * @param {{state: import("./state.js").State, squares: Square[]}} drawn what is drawn
 * @param {number} x level-0 pixels
 * @param {number} y level-0 pixels
 * @param {number} reach_px how far a centroid may lie from the place
 * @returns {number|null} its id
 */
export function nucleusAt({ state, squares }, x, y, reach_px) {
  let best = { id: /** @type {number|null} */ (null), far: reach_px };
  for (const square of squares) {
    const { arrays, origin_px, unit_px, count } = square;
    const [u, v] = [(x - origin_px[0]) / unit_px, (y - origin_px[1]) / unit_px];
    const widest = Math.max(reach_px, 100) / unit_px;
    for (let i = 0; i < count; i++) {
      const [dx, dy] = [arrays.x[i] - u, arrays.y[i] - v];
      if (Math.abs(dx) > widest || Math.abs(dy) > widest || !isDrawn(state, square, i)) continue;
      const { vertices, offsets } = arrays;
      if (vertices && ringHolds(vertices, offsets[i], offsets[i + 1], u, v)) return arrays.id[i];
      const far = Math.hypot(dx, dy) * unit_px;
      if (far < best.far) best = { id: arrays.id[i], far };
    }
  }
  return best.id;
}

/**
 * The nuclei in an outline that was drawn: those whose centroid lies in it.
 * @param {{state: import("./state.js").State, squares: Square[]}} drawn what is drawn
 * @param {import("./types.js").Point[]} ring level-0 pixels
 * @returns {number[]} their ids
 */
export function nucleiInside({ state, squares }, ring) {
  const vertices = Float32Array.from(ring.flat());
  return squares.flatMap((square) => {
    const { arrays, origin_px, unit_px, count } = square;
    const found = [];
    for (let i = 0; i < count; i++) {
      const [x, y] = [origin_px[0] + arrays.x[i] * unit_px, origin_px[1] + arrays.y[i] * unit_px];
      if (ringHolds(vertices, 0, ring.length, x, y) && isDrawn(state, square, i)) found.push(arrays.id[i]);
    }
    return found;
  });
}

/**
 * The nuclei under a brush that moved from one place to another: those whose centroid it covered, or that hold the place.
 * @param {{state: import("./state.js").State, squares: Square[]}} drawn what is drawn
 * @param {import("./types.js").Point} from level-0 pixels
 * @param {import("./types.js").Point} to level-0 pixels
 * @param {number} radius_px of the brush, level-0 pixels
 * @returns {number[]} their ids
 */
export function nucleiUnder({ state, squares }, from, to, radius_px) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  const found = new Set();
  for (const square of squares) {
    const { arrays, origin_px, unit_px, count } = square;
    for (let i = 0; i < count; i++) {
      const x = origin_px[0] + arrays.x[i] * unit_px - from[0];
      const y = origin_px[1] + arrays.y[i] * unit_px - from[1];
      const along = length ? Math.min(Math.max((x * dx + y * dy) / length, 0), 1) : 0;
      if (Math.hypot(x - along * dx, y - along * dy) <= radius_px && isDrawn(state, square, i)) found.add(arrays.id[i]);
    }
  }
  const at = nucleusAt({ state, squares }, to[0], to[1], 0);
  if (at !== null) found.add(at);
  return [...found];
}
