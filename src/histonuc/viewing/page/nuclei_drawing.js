/**
 * Drawing of squares and densities with the graphics programs: one call for each square, no work for each nucleus.
 * @module
 */

import { colouring, paletteTexels, storedLimits } from "./colours.js";
import { densityTexels } from "./densities.js";
import { createTexture } from "./gl.js";
import { FIRST_COLUMN, MAX_COLUMNS } from "./shaders.js";
import { upload, uploadColumns, uploadTriangles } from "./square_buffers.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./gl.js").Surface} Surface */
/** @typedef {import("./gl.js").Program} Program */
/** @typedef {import("./squares.js").Square} Square */

/**
 * Where slide pixels lie on the canvas: device = scale · slide + shift, all in float64.
 * @typedef {object} Camera
 * @property {number[]} scale 2 × 2, by columns
 * @property {number[]} shift device pixels
 * @property {number} ratio device pixels a CSS pixel
 * @property {number} um_per_px microns a CSS pixel
 */

/**
 * The camera of a frame of the map.
 * @param {import("ol/Map.js").FrameState} frame frame of OpenLayers; its y runs up
 * @param {number} mpp microns a slide pixel
 * @returns {Camera}
 */
export function cameraOf({ coordinateToPixelTransform: t, pixelRatio, viewState }, mpp) {
  return {
    scale: [t[0], t[1], -t[2], -t[3]].map((v) => v * pixelRatio),
    shift: [t[4] * pixelRatio, t[5] * pixelRatio],
    ratio: pixelRatio,
    um_per_px: viewState.resolution * mpp,
  };
}

/**
 * What is the same for all squares of a frame.
 * @param {Surface} surface the canvas
 * @param {Program} program the program to use
 * @param {State} state the state
 * @param {string[]} columns columns in use, in the order of their layers
 */
function useProgram({ gl, canvas }, { program, at }, state, columns) {
  gl.useProgram(program);
  gl.uniform1i(at.values, 0);
  gl.uniform1i(at.palette, 2);
  gl.uniform2f(at.canvas_size, canvas.width, canvas.height);
  const filters = Object.entries(state.ranges).filter(([name]) => columns.includes(name));
  const layers = new Int32Array(MAX_COLUMNS);
  const limits = new Float32Array(2 * MAX_COLUMNS);
  filters.forEach(([name, range], i) => {
    const column = state.slide?.columns.find((one) => one.name === name);
    layers[i] = FIRST_COLUMN + columns.indexOf(name);
    if (column) limits.set(storedLimits(column, range), 2 * i);
  });
  gl.uniform1i(at.num_filters, filters.length);
  gl.uniform1iv(at.filter_layers, layers);
  gl.uniform2fv(at.limits, limits);
  const by = colouring(state);
  gl.uniform1i(at.colour_layer, by ? FIRST_COLUMN + columns.indexOf(by.column.name) : -1);
  const step = by?.column.step ?? 1;
  gl.uniform2f(at.colour_range, (by?.low ?? 0) / step, (by?.high ?? 1) / step);
}

/**
 * Where one square lies.
 * @param {WebGL2RenderingContext} gl the context
 * @param {Program} program the program in use
 * @param {Camera} camera the camera
 * @param {Square} square the square
 */
function placeSquare(gl, { at }, { scale, shift }, { origin_px: [x, y], unit_px, buffers }) {
  gl.uniformMatrix2fv(
    at.scale,
    false,
    scale.map((v) => v * unit_px),
  );
  gl.uniform2f(at.origin, scale[0] * x + scale[2] * y + shift[0], scale[1] * x + scale[3] * y + shift[1]);
  gl.bindTexture(gl.TEXTURE_2D_ARRAY, buffers?.values ?? null);
  gl.bindVertexArray(buffers?.rings ?? null);
}

/** Diameter of a point in CSS pixels: that of a small nucleus, within limits. @param {Camera} camera */
const pointWidth = ({ um_per_px }) => Math.min(Math.max(6 / um_per_px, 2.5), 7);

/** Width of an outline in CSS pixels. @param {Camera} camera */
const lineWidth = ({ um_per_px }) => (um_per_px > 0.6 ? 1.4 : 2);

/**
 * The drawing of one canvas.
 * @param {Surface} surface the canvas
 */
export function createDrawing(surface) {
  const { gl } = surface;
  /** @type {WebGLTexture|null} */
  let palette = null;
  /** @type {WebGLTexture|null} */
  let picture = null;

  /**
   * Bring one square onto the card, with what is drawn of it.
   * @param {Square} square the square
   * @param {string[]} columns columns in use, all of them there
   * @param {boolean} filled whether insides are drawn
   */
  function bring(square, columns, filled) {
    square.buffers ??= upload(gl, square);
    uploadColumns(gl, square, columns);
    if (filled && square.arrays.vertices && !square.buffers.triangles) uploadTriangles(gl, square);
  }

  /**
   * Bring squares onto the card for at most a few milliseconds a frame.
   * @param {Square[]} squares squares of the view
   * @param {string[]} columns columns in use
   * @param {boolean} filled whether insides are drawn
   * @returns {Square[]} those that can be drawn
   */
  function prepare(squares, columns, filled) {
    const end = performance.now() + 5;
    return squares.filter((square) => {
      const lacks = !square.buffers || (filled && square.arrays.vertices && !square.buffers.triangles);
      if (lacks && performance.now() > end) return false;
      bring(square, columns, filled);
      return true;
    });
  }

  /**
   * @param {Program} program insides, outlines or points
   * @param {Square[]} squares squares on the card
   * @param {Camera} camera the camera
   * @param {(square: Square) => void} draw the call for one square
   */
  function drawEach(program, squares, camera, draw) {
    for (const square of squares) {
      if (!square.count) continue;
      placeSquare(gl, program, camera, square);
      draw(square);
    }
    gl.bindVertexArray(null);
  }

  return {
    bring,

    /** Colours of classes and numbers, after a change. @param {State} state */
    setPalette(state) {
      gl.activeTexture(gl.TEXTURE2);
      gl.deleteTexture(palette);
      palette = createTexture(gl, gl.TEXTURE_2D);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 2, 0, gl.RGBA, gl.UNSIGNED_BYTE, paletteTexels(state));
      gl.activeTexture(gl.TEXTURE0);
    },

    /** The picture from afar, after a change. @param {import("./densities.js").Densities} densities @param {State} state */
    setDensities(densities, state) {
      gl.activeTexture(gl.TEXTURE0);
      gl.deleteTexture(picture);
      picture = createTexture(gl, gl.TEXTURE_2D, gl.LINEAR);
      const { columns, rows } = densities;
      const texels = densityTexels(densities, state);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, columns, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
    },

    /**
     * @param {Square[]} squares squares of the view
     * @param {State} state the state
     * @param {string[]} columns columns in use
     * @param {Camera} camera the camera
     * @returns {boolean} whether all of them were drawn
     */
    drawSquares(squares, state, columns, camera) {
      const filled = state.fill === "filled";
      const ready = prepare(squares, columns, filled);
      gl.activeTexture(gl.TEXTURE2);
      gl.bindTexture(gl.TEXTURE_2D, palette);
      gl.activeTexture(gl.TEXTURE0);
      const rings = ready.filter(({ buffers }) => buffers?.rings);
      if (filled && rings.length) {
        const inside = surface.program("inside");
        useProgram(surface, inside, state, columns);
        gl.uniform1f(inside.at.opacity, state.opacity * 0.45);
        drawEach(inside, rings, camera, ({ buffers }) => {
          gl.drawElements(gl.TRIANGLES, buffers?.num_corners ?? 0, gl.UNSIGNED_INT, 0);
        });
      }
      const program = surface.program(rings.length ? "outline" : "point");
      useProgram(surface, program, state, columns);
      gl.uniform1f(program.at.opacity, state.opacity);
      const width = rings.length ? lineWidth(camera) : pointWidth(camera);
      gl.uniform1f(program.at.width, width * camera.ratio);
      const size = Math.hypot(camera.scale[0], camera.scale[1]);
      gl.uniformMatrix2fv(
        program.at.turn ?? null,
        false,
        camera.scale.map((v) => v / size),
      );
      drawEach(program, ready, camera, ({ buffers, count }) => {
        if (buffers?.rings) gl.drawArrays(gl.TRIANGLE_STRIP, 0, buffers.num_vertices);
        else gl.drawArrays(gl.POINTS, 0, count);
      });
      return ready.length === squares.length;
    },

    /**
     * @param {import("./densities.js").Densities} densities the counts
     * @param {State} state the state
     * @param {Camera} camera the camera
     */
    drawDensities({ columns, rows, cell_px }, state, { scale, shift }) {
      const program = surface.program("density");
      gl.useProgram(program.program);
      gl.uniform1i(program.at.picture, 0);
      gl.uniformMatrix2fv(program.at.scale, false, scale);
      gl.uniform2f(program.at.origin, shift[0], shift[1]);
      gl.uniform2f(program.at.canvas_size, surface.canvas.width, surface.canvas.height);
      const [width, height] = state.slide?.size_px ?? [0, 0]; // the last cells reach beyond the slide
      gl.uniform2f(program.at.extent, width, height);
      gl.uniform2f(program.at.share, width / (columns * cell_px), height / (rows * cell_px));
      gl.uniform1f(program.at.opacity, state.opacity * 0.85);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, picture);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    },
  };
}
