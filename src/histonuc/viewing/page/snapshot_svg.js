/**
 * A snapshot as SVG: outlines stay vectors, the slide is one picture inside.
 * @module
 */

import { REGION_COLOUR } from "./snapshot_png.js";

/** @typedef {import("./snapshot_scene.js").Scene} Scene */

/** @param {string} text for XML */
const escaped = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** @param {number} value with two decimals at most */
const short = (value) => String(Math.round(value * 100) / 100);

/** @param {Blob} blob @returns {Promise<string>} data: address */
function dataAddress(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** One path for each nucleus, in groups of one colour. @param {Scene} scene */
function shapeGroups({ shapes, filled, scale }) {
  /** @type {Map<string, string[]>} */
  const groups = new Map();
  for (const { colour, ring, x, y } of shapes) {
    const lines = groups.get(colour) ?? [];
    groups.set(colour, lines);
    if (ring) {
      const corners = [];
      for (let i = 0; i < ring.length; i += 2) corners.push(`${short(ring[i])} ${short(ring[i + 1])}`);
      lines.push(`<path d="M${corners.join("L")}Z"/>`);
    } else {
      lines.push(`<circle cx="${short(x)}" cy="${short(y)}" r="${short(2.5 / scale)}" fill="${colour}"/>`);
    }
  }
  return [...groups].map(
    ([colour, lines]) =>
      `<g stroke="${colour}" fill="${filled ? colour : "none"}" fill-opacity="${filled ? 0.45 : 1}" stroke-width="${short(1.8 / scale)}">${lines.join("")}</g>`,
  );
}

/** Drawn regions. @param {Scene} scene */
function ringGroup({ rings, scale }) {
  const lines = rings.map((ring) => `<polygon points="${ring.map(([x, y]) => `${short(x)},${short(y)}`).join(" ")}"/>`);
  return `<g fill="none" stroke="${REGION_COLOUR}" stroke-width="${short(3 / scale)}">${lines.join("")}</g>`;
}

/** Scale bar, legend and provenance. @param {Scene} scene */
function stripParts({ width, height, strip_height, strip }) {
  const parts = strip.map((part) =>
    part.kind === "rectangle"
      ? `<rect x="${short(part.x)}" y="${short(part.y)}" width="${short(part.w)}" height="${short(part.h)}" fill="${part.fill}"/>`
      : `<text x="${short(part.x)}" y="${short(part.y)}" font-size="${short(part.size)}" text-anchor="${part.anchor}">${escaped(part.text)}</text>`,
  );
  return `<rect y="${height}" width="${width}" height="${strip_height}" fill="#fff"/><g font-family="system-ui, sans-serif" fill="#111">${parts.join("")}</g>`;
}

/**
 * Write a scene.
 * @param {Scene} scene what it shows
 * @returns {Promise<Blob>} SVG
 */
export async function svgOf(scene) {
  const { width, height, strip_height, scale, centre, rotation, box, densities_box: cells } = scene;
  /** @param {string} address @param {import("./types.js").Box} where @param {number} opacity */
  const image = (address, [x0, y0, x1, y1], opacity) =>
    `<image href="${address}" x="${x0}" y="${y0}" width="${x1 - x0}" height="${y1 - y0}" preserveAspectRatio="none" opacity="${opacity}"/>`;
  const turn = (rotation * 180) / Math.PI;
  const move = `translate(${short(width / 2)} ${short(height / 2)}) rotate(${turn}) scale(${scale}) translate(${-centre[0]} ${-centre[1]})`;
  const text = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height + strip_height}" viewBox="0 0 ${width} ${height + strip_height}">`,
    `<clipPath id="view"><rect width="${width}" height="${height}"/></clipPath><rect width="${width}" height="${height}" fill="#fbfbfa"/>`,
    `<g clip-path="url(#view)"><g transform="${move}">`,
    scene.picture ? image(await dataAddress(scene.picture), box, 1) : "",
    scene.densities ? image(scene.densities.toDataURL(), cells, scene.opacity * 0.85) : "",
    `<g opacity="${scene.opacity}">`,
    ...shapeGroups(scene),
    "</g>",
    ringGroup(scene),
    "</g></g>",
    stripParts(scene),
    "</svg>",
  ];
  return new Blob([text.join("\n")], { type: "image/svg+xml" });
}
