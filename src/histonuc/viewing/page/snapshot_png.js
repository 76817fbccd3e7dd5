/**
 * A snapshot as PNG.
 * @module
 */

/** @typedef {import("./snapshot_scene.js").Scene} Scene */

const POINT_PX = 2.5;

/** Of the lines of drawn regions. */
export const REGION_COLOUR = "#f2b200";

/** The nuclei. @param {CanvasRenderingContext2D} pen @param {Scene} scene */
function drawShapes(pen, { shapes, filled, opacity, scale }) {
  for (const { colour, ring, x, y } of shapes) {
    pen.beginPath();
    if (ring) {
      for (let i = 0; i < ring.length; i += 2) pen.lineTo(ring[i], ring[i + 1]);
      pen.closePath();
    } else {
      pen.arc(x, y, POINT_PX / scale, 0, 7);
    }
    pen.fillStyle = pen.strokeStyle = colour;
    pen.globalAlpha = ring ? opacity * 0.45 : opacity;
    if (filled || !ring) pen.fill();
    pen.globalAlpha = opacity;
    pen.lineWidth = 1.8 / scale;
    if (ring) pen.stroke();
  }
  pen.globalAlpha = 1;
}

/** Drawn regions. @param {CanvasRenderingContext2D} pen @param {Scene} scene */
function drawRings(pen, { rings, scale }) {
  pen.strokeStyle = REGION_COLOUR;
  pen.lineWidth = 3 / scale;
  for (const ring of rings) {
    pen.beginPath();
    ring.forEach(([x, y]) => pen.lineTo(x, y));
    pen.closePath();
    pen.stroke();
  }
}

/** Scale bar, legend and provenance. @param {CanvasRenderingContext2D} pen @param {Scene} scene */
function drawStrip(pen, { width, height, strip_height, strip }) {
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, height, width, strip_height);
  for (const part of strip) {
    if (part.kind === "rectangle") {
      pen.fillStyle = part.fill;
      pen.fillRect(part.x, part.y, part.w, part.h);
    } else {
      pen.fillStyle = "#111111";
      pen.font = `${part.size}px system-ui, "DejaVu Sans", sans-serif`;
      pen.textAlign = part.anchor;
      pen.fillText(part.text, part.x, part.y);
    }
  }
}

/**
 * Draw a scene.
 * @param {Scene} scene what it shows
 * @returns {Promise<Blob>} PNG
 */
export async function pngOf(scene) {
  const canvas = document.createElement("canvas");
  canvas.width = scene.width;
  canvas.height = scene.height + scene.strip_height;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = "#fbfbfa";
  pen.fillRect(0, 0, scene.width, scene.height);
  pen.save();
  pen.translate(scene.width / 2, scene.height / 2);
  pen.rotate(scene.rotation);
  pen.scale(scene.scale, scene.scale);
  pen.translate(-scene.centre[0], -scene.centre[1]);
  const [x0, y0, x1, y1] = scene.box;
  if (scene.picture) pen.drawImage(await createImageBitmap(scene.picture), x0, y0, x1 - x0, y1 - y0);
  if (scene.densities) {
    const [u0, v0, u1, v1] = scene.densities_box;
    pen.globalAlpha = scene.opacity * 0.85;
    pen.drawImage(scene.densities, u0, v0, u1 - u0, v1 - v0);
    pen.globalAlpha = 1;
  }
  drawShapes(pen, scene);
  drawRings(pen, scene);
  pen.restore();
  drawStrip(pen, scene);
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (blob) =>
        blob
          ? resolve(blob)
          : reject(new Error("This browser cannot make a picture so large. Choose a smaller width.")),
      "image/png",
    ),
  );
}
