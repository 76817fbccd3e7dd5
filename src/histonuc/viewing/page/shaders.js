/**
 * The programs of the graphics card. Nothing is an instance (software rendering draws each instance by itself), no
 * nucleus is an object, and what a corner needs of its neighbours is counted once, when its square comes.
 *
 * `values` has one layer for each number of a nucleus, 256 nuclei a row: 0 x, 1 y, 2 class, 3 and on the columns in use.
 * `palette` has two rows of 256 colours: the classes (alpha 0: hidden), and the ramp for numbers.
 * @module
 */

import { MITRE_STEPS } from "./mesh.js";

/** Where the programs take the corners from. */
export const CORNER_AT = 0;

/** Most columns that filters and the colouring can use at once. */
export const MAX_COLUMNS = 8;

/** Layers of `values` before the columns: x, y and class. */
export const FIRST_COLUMN = 3;

const APPEARANCE = `#version 300 es
precision highp float; precision highp int;
precision highp sampler2DArray;
uniform sampler2DArray values;
uniform sampler2D palette;
uniform mat2 scale;
uniform vec2 origin;
uniform vec2 canvas_size;
uniform float opacity;
uniform int num_filters;
uniform int filter_layers[${MAX_COLUMNS}];
uniform vec2 limits[${MAX_COLUMNS}];
uniform int colour_layer;
uniform vec2 colour_range;
const vec4 NOWHERE = vec4(2.0, 2.0, 2.0, 1.0);
float value(int nucleus, int layer) {
  return texelFetch(values, ivec3(nucleus & 255, nucleus >> 8, layer), 0).r;
}
// Colour with alpha; alpha 0 where the class is hidden or a filter leaves the nucleus out.
vec4 appearance(int nucleus) {
  vec4 colour = texelFetch(palette, ivec2(int(value(nucleus, 2)), 0), 0);
  for (int i = 0; i < num_filters; i++) {
    float v = value(nucleus, filter_layers[i]);
    if (!(v >= limits[i].x && v <= limits[i].y)) colour.a = 0.0;
  }
  if (colour_layer >= 0 && colour.a > 0.0) {
    float v = value(nucleus, colour_layer);
    float share = clamp((v - colour_range.x) / max(colour_range.y - colour_range.x, 1e-9), 0.0, 1.0);
    colour = v == v ? texelFetch(palette, ivec2(int(share * 255.0 + 0.5), 1), 0) : vec4(0.6, 0.6, 0.6, 1.0);
  }
  return colour;
}
vec4 place(vec2 pixel) {
  vec2 clip = pixel / canvas_size * 2.0 - 1.0;
  return vec4(clip.x, -clip.y, 0.0, 1.0);
}
`;

/** x, y, nucleus and way from the corner: see `stripVertices`. */
const CORNER = `
layout(location = ${CORNER_AT}) in ivec4 corner;
`;

/** Outlines: a mitred strip around each ring. */
const OUTLINE = `${APPEARANCE}${CORNER}
uniform float width;
uniform mat2 turn;
flat out vec4 colour;
out float across;
void main() {
  colour = appearance(corner.z & 65535) * vec4(1.0, 1.0, 1.0, opacity);
  if (colour.a <= 0.0) { gl_Position = NOWHERE; return; }
  float reach = width * 0.5 + 0.75;
  across = (gl_VertexID & 1) == 1 ? reach : -reach;
  vec2 way = vec2((corner.w << 24) >> 24, corner.w >> 8) * (reach / ${MITRE_STEPS}.0);
  gl_Position = place(scale * vec2(corner.xy) + origin + turn * way);
}`;

const OUTLINE_COLOUR = `#version 300 es
precision highp float;
uniform float width;
flat in vec4 colour;
in float across;
out vec4 pixel;
void main() {
  float alpha = colour.a * clamp(width * 0.5 + 0.5 - abs(across), 0.0, 1.0);
  pixel = vec4(colour.rgb * alpha, alpha);
}`;

/** Insides: triangles of vertices of the strip. */
const INSIDE = `${APPEARANCE}${CORNER}
flat out vec4 colour;
void main() {
  colour = appearance(corner.z & 65535) * vec4(1.0, 1.0, 1.0, opacity);
  gl_Position = colour.a > 0.0 ? place(scale * vec2(corner.xy) + origin) : NOWHERE;
}`;

const INSIDE_COLOUR = `#version 300 es
precision highp float;
flat in vec4 colour;
out vec4 pixel;
void main() { pixel = vec4(colour.rgb * colour.a, colour.a); }`;

/** Points: one disc at each centroid. */
const POINT = `${APPEARANCE}
uniform float width;
flat out vec4 colour;
void main() {
  colour = appearance(gl_VertexID) * vec4(1.0, 1.0, 1.0, opacity);
  gl_Position = colour.a > 0.0
    ? place(scale * vec2(value(gl_VertexID, 0), value(gl_VertexID, 1)) + origin) : NOWHERE;
  gl_PointSize = width + 1.0;
}`;

const POINT_COLOUR = `#version 300 es
precision highp float;
uniform float width;
flat in vec4 colour;
out vec4 pixel;
void main() {
  float away = length(gl_PointCoord - 0.5) * (width + 1.0);
  float alpha = colour.a * clamp(width * 0.5 + 0.5 - away, 0.0, 1.0);
  pixel = vec4(colour.rgb * alpha, alpha);
}`;

/** Densities: one picture of the whole slide, stretched over it. */
const DENSITY = `#version 300 es
precision highp float;
uniform mat2 scale;
uniform vec2 origin;
uniform vec2 canvas_size;
uniform vec2 extent;
uniform vec2 share;
out vec2 at;
void main() {
  vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1));
  at = corner * share;
  vec2 clip = (scale * (corner * extent) + origin) / canvas_size * 2.0 - 1.0;
  gl_Position = vec4(clip.x, -clip.y, 0.0, 1.0);
}`;

const DENSITY_COLOUR = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform float opacity;
in vec2 at;
out vec4 pixel;
void main() { pixel = texture(picture, at) * opacity; }`;

/** Vertex and fragment program by name. */
export const PROGRAMS = {
  outline: [OUTLINE, OUTLINE_COLOUR],
  inside: [INSIDE, INSIDE_COLOUR],
  point: [POINT, POINT_COLOUR],
  density: [DENSITY, DENSITY_COLOUR],
};
