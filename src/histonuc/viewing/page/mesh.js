/**
 * Rings of nuclei as vertices for the graphics programs.
 * @module
 */

import earcut from "./vendor/earcut.js";

/** @typedef {import("./types.js").Numbers} Numbers */

/** Steps of a mitre to half the width of a line: it is at most two of them long. */
export const MITRE_STEPS = 63;

/**
 * One strip around all rings, two vertices for each corner, left and right of the line. Four numbers a vertex: x, y, the
 * nucleus, and the way from the corner in units of half the line's width, as two bytes. The first corner of a ring comes
 * again at its end; the first and the last vertex of a ring come twice, so that what joins two rings has no area.
 * @param {Numbers} offsets where each ring begins, and one more; at most 65,536 rings
 * @param {Numbers} vertices x0, y0, x1, y1, …; open rings
 * @returns {Int16Array}
 */
export function stripVertices(offsets, vertices) {
  const num_rings = offsets.length - 1;
  const strip = new Int16Array(4 * (vertices.length + 4 * num_rings));
  let at = 0;
  /** @param {number} x @param {number} y @param {number} ring @param {number} way */
  const put = (x, y, ring, way) => {
    strip[at++] = x;
    strip[at++] = y;
    strip[at++] = ring;
    strip[at++] = way;
  };
  for (let ring = 0; ring < num_rings; ring++) {
    const [first, end] = [offsets[ring], offsets[ring + 1]];
    let [x, y] = [vertices[2 * first], vertices[2 * first + 1]];
    // Direction of the line that comes into the corner.
    let [ux, uy] = unit(x - vertices[2 * end - 2], y - vertices[2 * end - 1]);
    for (let k = first; k <= end; k++) {
      const next = k + 1 < end ? k + 1 : first + (k + 1 - end);
      const [x1, y1] = [vertices[2 * next], vertices[2 * next + 1]];
      const [vx, vy] = unit(x1 - x, y1 - y);
      const [mx, my] = unit(-uy - vy, ux + vx);
      const reach = MITRE_STEPS / Math.max(my * ux - mx * uy, 0.5);
      const [a, b] = [Math.round(mx * reach), Math.round(my * reach)];
      const [left, right] = [(a & 255) | (b << 8), (-a & 255) | (-b << 8)];
      if (k === first) put(x, y, ring, left);
      put(x, y, ring, left);
      put(x, y, ring, right);
      if (k === end) put(x, y, ring, right);
      [x, y, ux, uy] = [x1, y1, vx, vy];
    }
  }
  return strip;
}

/** A direction; any where there is none. @param {number} dx @param {number} dy @returns {[number, number]} */
function unit(dx, dy) {
  const length = Math.sqrt(dx * dx + dy * dy);
  return length > 0 ? [dx / length, dy / length] : [1, 0];
}

/**
 * Triangles that fill the rings, as numbers of vertices in the strip.
 * @param {Numbers} offsets where each ring begins, and one more
 * @param {Numbers} vertices x0, y0, x1, y1, …
 * @returns {Uint32Array}
 */
export function fillTriangles(offsets, vertices) {
  /** @type {number[]} */
  const corners = [];
  for (let ring = 0; ring < offsets.length - 1; ring++) {
    const base = 2 * offsets[ring] + 4 * ring + 1;
    const points = Array.from(vertices.subarray(2 * offsets[ring], 2 * offsets[ring + 1]));
    for (const corner of earcut(points)) corners.push(base + 2 * corner);
  }
  return Uint32Array.from(corners);
}
