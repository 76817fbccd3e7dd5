/**
 * The canvas of the nuclei with its WebGL 2 programs and textures, and its return after a lost context.
 * @module
 */

import { PROGRAMS } from "./shaders.js";

/** @typedef {keyof typeof PROGRAMS} ProgramName */
/** @typedef {{program: WebGLProgram, at: Record<string, WebGLUniformLocation>}} Program */

/**
 * @param {WebGL2RenderingContext} gl the context
 * @param {string[]} sources vertex and fragment program
 * @returns {Program}
 */
function link(gl, [vertex, fragment]) {
  const program = /** @type {WebGLProgram} */ (gl.createProgram());
  for (const [kind, source] of /** @type {[number, string][]} */ ([
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ])) {
    const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const reasons = gl.getAttachedShaders(program)?.map((shader) => gl.getShaderInfoLog(shader)) ?? [];
    throw new Error(`The graphics program does not build: ${[gl.getProgramInfoLog(program), ...reasons].join(" ")}`);
  }
  /** @type {Record<string, WebGLUniformLocation>} */
  const at = {};
  for (let i = 0; i < (gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) ?? 0); i++) {
    const name = gl.getActiveUniform(program, i)?.name ?? "";
    const location = gl.getUniformLocation(program, name);
    if (location) at[name.replace("[0]", "")] = location;
  }
  return { program, at };
}

/**
 * The canvas and what is drawn with. Programs are built when first needed: each takes a while.
 * @param {() => void} onLost called when everything on the graphics card is gone
 * @param {() => void} onBack called when it can be built again
 */
export function createCanvas(onLost, onBack) {
  const canvas = document.createElement("canvas");
  canvas.className = "nuclei";
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  if (!gl) {
    throw new Error(
      "This browser has no WebGL 2, which the nuclei are drawn with. Use a current Firefox, Chrome, Edge or Safari.",
    );
  }
  /** @type {Map<ProgramName, Program>} */
  const built = new Map();
  const surface = {
    canvas,
    gl,
    /** Whether the context is gone for now. */
    lost: false,
    /** @param {ProgramName} name which program */
    program(name) {
      const program = built.get(name) ?? link(gl, PROGRAMS[name]);
      built.set(name, program);
      return program;
    },
  };
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // without it the browser never gives the context back
    surface.lost = true;
    built.clear();
    onLost();
  });
  canvas.addEventListener("webglcontextrestored", () => {
    surface.lost = false;
    onBack();
  });
  return surface;
}

/** @typedef {ReturnType<typeof createCanvas>} Surface */

/**
 * A new texture without smoothing, bound to its target.
 * @param {WebGL2RenderingContext} gl the context
 * @param {number} target gl.TEXTURE_2D or gl.TEXTURE_2D_ARRAY
 * @param {number} [filter] gl.NEAREST unless told
 */
export function createTexture(gl, target, filter = gl.NEAREST) {
  const texture = /** @type {WebGLTexture} */ (gl.createTexture());
  gl.bindTexture(target, texture);
  gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, filter);
  gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, filter);
  gl.texParameteri(target, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(target, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  return texture;
}

/**
 * Make the canvas as large as the map, in device pixels, and clear it.
 * @param {Surface} surface the canvas
 * @param {number[]} size of the map in CSS pixels
 * @param {number} ratio device pixels a CSS pixel
 */
export function beginFrame({ canvas, gl }, [width, height], ratio) {
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  gl.viewport(0, 0, w, h);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
}
