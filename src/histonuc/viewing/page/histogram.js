/**
 * A histogram that is the filter: drag over it to choose a range; the fields beside it do the same by keyboard.
 * @module
 */

import { el } from "./dom.js";

const NUM_BINS = 64;

/**
 * Draw the bars, those inside the range bright.
 * @param {HTMLCanvasElement} canvas where
 * @param {number[]} sums one for each bin
 * @param {[number, number]} shares of the width that the range covers
 */
function draw(canvas, sums, [from, to]) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
  canvas.width = width;
  canvas.height = height;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = "#15181a";
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = "#2b3f58";
  pen.fillRect(from * width, 0, (to - from) * width, height);
  const full = Math.max(1, ...sums);
  const step = width / sums.length;
  sums.forEach((n, i) => {
    const middle = (i + 0.5) / sums.length;
    pen.fillStyle = middle >= from && middle <= to ? "#a8c7fa" : "#5f666d";
    const bar = n ? Math.max(1.5 * ratio, (n / full) * (height - 4 * ratio)) : 0;
    pen.fillRect(i * step, height - bar, Math.max(1, step - ratio * 0.5), bar);
  });
  pen.fillStyle = "#ffffff";
  for (const x of [from, to]) pen.fillRect(Math.min(x * width, width - 2 * ratio), 0, 2 * ratio, height);
}

/**
 * A histogram of one column.
 * @param {object} options
 * @param {import("./types.js").Column} options.column the column
 * @param {(range: [number, number]) => void} options.onRange called while a range is drawn
 */
export function createHistogram({ column, onRange }) {
  const [low, high] = [column.low ?? 0, column.high ?? 1];
  const span = Math.max(high - low, 1e-9);
  /** @type {number[]} */
  let sums = new Array(NUM_BINS).fill(0);
  /** @type {[number, number]} */
  let shares = [0, 1];
  let held = 0;
  const canvas = el("canvas", {
    class: "histogram",
    role: "img",
    "aria-label": `Histogram of ${column.title}. Drag over it, or use the two fields below.`,
  });

  /** @param {PointerEvent} event @returns {number} */
  function shareAt(event) {
    const { left, width } = canvas.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - left) / width, 0), 1);
  }

  canvas.addEventListener("pointerdown", (event) => {
    const at = shareAt(event);
    canvas.setPointerCapture(event.pointerId);
    const near = shares.map((share) => Math.abs(share - at));
    held = near[0] < 0.04 ? shares[1] : near[1] < 0.04 ? shares[0] : at; // an end is moved, or a new range begins
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const at = shareAt(event);
    onRange([low + Math.min(held, at) * span, low + Math.max(held, at) * span]);
  });

  return {
    canvas,
    num_bins: NUM_BINS,
    /** @param {number[]} next one for each bin */
    setSums(next) {
      sums = next;
      draw(canvas, sums, shares);
    },
    /** @param {import("./types.js").Range} range what is chosen */
    setRange([from, to]) {
      shares = [((from ?? low) - low) / span, ((to ?? high) - low) / span];
      draw(canvas, sums, shares);
    },
  };
}
