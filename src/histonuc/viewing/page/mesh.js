/**
 * Rings of nuclei as the texture of vertices that the graphics programs read.
 * @module
 */

import earcut from "./vendor/earcut.js";
import { VERTEX_ROW } from "./shaders.js";

/** @typedef {import("./types.js").Numbers} Numbers */

/**
 * Vertices, four numbers each: x, y, low 16 bits of the nucleus, and its high bits · 4 + kind.
 * Each ring v0 … vn is written as [vn (kind 1), v0, …, vn, v0, v1 (kind 2)], so that every vertex of the strip has its
 * neighbours beside it.
 * @param {Numbers} offsets where each ring begins, and one more
 * @param {Numbers} vertices x0, y0, x1, y1, …; open rings
 * @returns {{texels: Int16Array, num: number, rows: number}} `num` vertices in whole rows of the texture
 */
export function stripTexels(offsets, vertices) {
  const num_rings = offsets.length - 1;
  const num = vertices.length / 2 + 3 * num_rings;
  const rows = Math.max(1, Math.ceil(num / VERTEX_ROW));
  const texels = new Int16Array(4 * VERTEX_ROW * rows);
  let at = 0;
  for (let ring = 0; ring < num_rings; ring++) {
    const [first, end] = [offsets[ring], offsets[ring + 1]];
    const high = (ring >> 16) << 2;
    for (let k = first - 1; k <= end + 1; k++) {
      const j = k < first ? end - 1 : k < end ? k : first + (k - end);
      texels[at++] = vertices[2 * j];
      texels[at++] = vertices[2 * j + 1];
      texels[at++] = ring & 65535;
      texels[at++] = high | (k < first ? 1 : k > end ? 2 : 0);
    }
  }
  return { texels, num, rows };
}

/**
 * Triangles that fill the rings, as numbers of vertices in the texture.
 * @param {Numbers} offsets where each ring begins, and one more
 * @param {Numbers} vertices x0, y0, x1, y1, …
 * @returns {Uint32Array}
 */
export function fillTriangles(offsets, vertices) {
  /** @type {number[]} */
  const corners = [];
  for (let ring = 0; ring < offsets.length - 1; ring++) {
    const base = offsets[ring] + 3 * ring + 1;
    const points = Array.from(vertices.subarray(2 * offsets[ring], 2 * offsets[ring + 1]));
    for (const corner of earcut(points)) corners.push(base + corner);
  }
  return Uint32Array.from(corners);
}
