/**
 * What a square has on the graphics card: its numbers, its rings, and triangles where insides are drawn.
 * @module
 */

import { createTexture } from "./gl.js";
import { fillTriangles, stripVertices } from "./mesh.js";
import { CORNER_AT, FIRST_COLUMN, MAX_COLUMNS } from "./shaders.js";

/** @typedef {import("./squares.js").Square} Square */

/**
 * @typedef {object} Buffers
 * @property {WebGLTexture} values x, y, class and columns of each nucleus
 * @property {string[]} names which column lies in which layer
 * @property {WebGLVertexArrayObject|null} rings where the programs find the strip and the triangles; null for points
 * @property {WebGLBuffer|null} strip around the rings
 * @property {number} num_vertices of the strip
 * @property {WebGLBuffer|null} triangles of the insides
 * @property {number} num_corners of the triangles
 */

/**
 * Write one number of each nucleus into a layer.
 * @param {WebGL2RenderingContext} gl the context
 * @param {Square} square the square, its `values` texture bound
 * @param {number} layer which layer
 * @param {import("./types.js").Numbers} numbers one for each nucleus
 */
function fillLayer(gl, { count }, layer, numbers) {
  const rows = Math.max(1, Math.ceil(count / 256));
  const texels = new Float32Array(256 * rows);
  texels.set(numbers);
  gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, layer, 256, rows, 1, gl.RED, gl.FLOAT, texels);
}

/**
 * Bring a square onto the graphics card.
 * @param {WebGL2RenderingContext} gl the context
 * @param {Square} square the square
 * @returns {Buffers}
 */
export function upload(gl, square) {
  const { count, arrays } = square;
  const values = createTexture(gl, gl.TEXTURE_2D_ARRAY);
  const rows = Math.max(1, Math.ceil(count / 256));
  gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.R32F, 256, rows, FIRST_COLUMN + MAX_COLUMNS);
  [arrays.x, arrays.y, arrays.class].forEach((numbers, i) => fillLayer(gl, square, i, numbers));
  /** @type {Buffers} */
  const buffers = { values, names: [], rings: null, strip: null, num_vertices: 0, triangles: null, num_corners: 0 };
  if (arrays.vertices) {
    const vertices = stripVertices(arrays.offsets, arrays.vertices);
    buffers.num_vertices = vertices.length / 4;
    buffers.rings = gl.createVertexArray();
    buffers.strip = gl.createBuffer();
    gl.bindVertexArray(buffers.rings);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers.strip);
    gl.bufferData(gl.ARRAY_BUFFER, vertices, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(CORNER_AT);
    gl.vertexAttribIPointer(CORNER_AT, 4, gl.SHORT, 0, 0);
    gl.bindVertexArray(null);
  }
  return buffers;
}

/**
 * Bring the columns in use into their layers, where others lie there.
 * @param {WebGL2RenderingContext} gl the context
 * @param {Square} square a square with these columns and with buffers
 * @param {string[]} columns names in the order of their layers
 */
export function uploadColumns(gl, square, columns) {
  const { names, values } = /** @type {Buffers} */ (square.buffers);
  columns.forEach((name, i) => {
    if (names[i] === name) return;
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, values);
    fillLayer(gl, square, FIRST_COLUMN + i, square.arrays[name]);
    names[i] = name;
  });
}

/**
 * Cut the insides into triangles, once a square.
 * @param {WebGL2RenderingContext} gl the context
 * @param {Square} square a square with rings and with buffers
 */
export function uploadTriangles(gl, square) {
  const buffers = /** @type {Buffers} */ (square.buffers);
  const corners = fillTriangles(square.arrays.offsets, square.arrays.vertices);
  buffers.triangles = gl.createBuffer();
  buffers.num_corners = corners.length;
  gl.bindVertexArray(buffers.rings);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.triangles);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
  gl.bindVertexArray(null);
}

/**
 * Free what a square has on the graphics card.
 * @param {WebGL2RenderingContext} gl the context
 * @param {Square} square the square
 */
export function release(gl, square) {
  const { values, rings, strip, triangles } = square.buffers ?? {};
  gl.deleteTexture(values ?? null);
  gl.deleteVertexArray(rings ?? null);
  gl.deleteBuffer(strip ?? null);
  gl.deleteBuffer(triangles ?? null);
  square.buffers = null;
}
