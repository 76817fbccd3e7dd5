/**
 * One nucleus: zoomed crop with its outline, probabilities, and its row of the table.
 * @module
 */

import { ServerError, latest } from "./api.js";
import { classColour } from "./colours.js";
import { el, icon } from "./dom.js";
import { MARKS } from "./marks_layer.js";
import { formatValue } from "./scale.js";
import { swatch } from "./regions_panel.js";

/** @typedef {import("./types.js").Nucleus} Nucleus */

const [WIDTH, HEIGHT] = [450, 300];

/**
 * The window around a nucleus: three times its box, in the shape of the picture.
 * @param {Nucleus} nucleus the nucleus
 * @returns {{x: number, y: number, w: number, h: number}} level-0 pixels
 */
function windowAround({ box_xyxy: [x0, y0, x1, y1] }) {
  const h = 3 * Math.max(y1 - y0, ((x1 - x0) * HEIGHT) / WIDTH, 8);
  const w = (h * WIDTH) / HEIGHT;
  return { x: (x0 + x1 - w) / 2, y: (y0 + y1 - h) / 2, w, h };
}

/**
 * Draw the crop and the outline over it.
 * @param {HTMLCanvasElement} canvas where
 * @param {Nucleus} nucleus the nucleus
 * @param {ImageBitmap|null} picture the slide there, null where it is missing
 * @param {string} colour of the outline
 */
function drawCrop(canvas, nucleus, picture, colour) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { x, y, w } = windowAround(nucleus);
  const zoom = WIDTH / w;
  pen.fillStyle = "#fbfbfa";
  pen.fillRect(0, 0, WIDTH, HEIGHT);
  if (picture) pen.drawImage(picture, 0, 0, WIDTH, HEIGHT);
  pen.beginPath();
  nucleus.outline.forEach(([u, v]) => pen.lineTo((u - x) * zoom, (v - y) * zoom));
  pen.closePath();
  pen.lineWidth = 2;
  pen.strokeStyle = colour;
  pen.stroke();
}

/** What people did to a nucleus, in a few words. @param {number} mark the server's account of it */
function describeMark(mark) {
  if (mark & MARKS.conflict) return "disputed";
  if (mark & MARKS.made) return "made by hand";
  return mark & (MARKS.class | MARKS.outline) ? "corrected" : "held out";
}

/** Probabilities as bars. @param {import("./state.js").State} state @param {Nucleus} nucleus */
function bars(state, { probabilities }) {
  const rows = probabilities.map((p, index) => {
    const fill = el("span");
    fill.style.width = `${100 * p}%`;
    fill.style.background = classColour(state, index);
    const name = state.classes[index]?.name ?? "";
    return [
      el("span", { class: "name", text: name, title: name }),
      el("span", { class: "bar", "aria-hidden": "true" }, fill),
      el("span", { class: "number", text: `${(100 * p).toFixed(1)} %` }),
    ];
  });
  return el("div", { class: "bars" }, ...rows.flat());
}

/** What is looked at first; the rest of the row is one click away. */
const FIRST = ["area_um2", "major_axis_um", "minor_axis_um", "circularity", "score", "class_trust", "trust"];

/** @param {[string, string][]} rows names and values */
const factTable = (rows) =>
  el(
    "table",
    { class: "facts" },
    el(
      "tbody",
      {},
      ...rows.map(([name, text]) =>
        el("tr", {}, el("th", { scope: "row", text: name, title: name }), el("td", { text })),
      ),
    ),
  );

/** The row of the table: what matters most, then all columns under their own names. @param {import("./state.js").State} state @param {Nucleus} nucleus */
function facts({ slide }, { row }) {
  const columns = new Map(slide?.columns.map((column) => [column.name, column]));
  const first = FIRST.flatMap((name) => {
    const column = columns.get(name);
    /** @type {[string, string]} */
    const line = [column?.title ?? name, formatValue(row[name], column?.unit)];
    return column && name in row ? [line] : [];
  });
  const all = Object.entries(row).map(([name, value]) => {
    /** @type {[string, string]} */
    const line = [name, formatValue(name === "id" ? String(value) : value, columns.get(name)?.unit)];
    return line;
  });
  return el("div", {}, factTable(first), el("details", {}, el("summary", { text: "All columns" }), factTable(all)));
}

/**
 * The panel of the chosen nucleus.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {(step: 1|-1) => void} wiring.step chooses the next nucleus of the list, or the one before
 * @param {(nucleus: Nucleus|null) => void} wiring.onNucleus called with the nucleus that is shown
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createNucleusPanel({ store, api, step, onNucleus, report }) {
  const ask = latest(report);
  const empty = el("p", {
    class: "empty",
    text: "Click a nucleus, or press Enter to choose the one nearest to the middle of the view.",
  });
  const content = el("div");
  const element = el("div", {}, empty, content);

  /** @param {Nucleus} nucleus */
  async function show(nucleus) {
    const state = store.get();
    const canvas = el("canvas", {
      class: "crop",
      width: WIDTH,
      height: HEIGHT,
      role: "img",
      "aria-label": `Nucleus ${nucleus.id}, enlarged`,
    });
    content.replaceChildren(
      canvas,
      el(
        "div",
        { class: "title-line" },
        swatch(state, nucleus.class),
        el("span", { text: nucleus.class_name, id: "nucleus-class" }),
        el("span", { class: "muted", text: `No. ${nucleus.id}`, id: "nucleus-id" }),
        nucleus.mark ? el("span", { class: "badge", text: describeMark(nucleus.mark) }) : null,
        el("span", { class: "spacer" }),
        el(
          "button",
          {
            type: "button",
            class: "plain",
            title: "Previous (Shift+N)",
            "aria-label": "Previous nucleus",
            onclick: () => step(-1),
          },
          icon("previous"),
        ),
        el(
          "button",
          { type: "button", class: "plain", title: "Next (N)", "aria-label": "Next nucleus", onclick: () => step(1) },
          icon("next"),
        ),
      ),
      bars(state, nucleus),
      facts(state, nucleus),
    );
    const colour = classColour(state, nucleus.class);
    drawCrop(canvas, nucleus, null, colour);
    if (!state.slide?.picture_levels) return;
    const { x, y, w, h } = windowAround(nucleus);
    const query = new URLSearchParams(
      Object.entries({ x, y, w, h, width: WIDTH, height: HEIGHT }).map(([k, v]) => [k, String(v)]),
    );
    drawCrop(canvas, nucleus, await api.picture(`slides/${state.slide.number}/crop?${query}`), colour);
  }

  store.watch(["selected", "slide", "version"], ({ slide, selected }) => {
    const chosen = slide !== null && selected !== null;
    empty.hidden = chosen;
    content.hidden = !chosen;
    if (!chosen) return onNucleus(null);
    void ask(async (signal) => {
      /** @type {Nucleus|null} */
      const nucleus = await api.json(`slides/${slide.number}/nuclei/${selected}`, undefined, signal).catch((error) => {
        if (error instanceof ServerError && error.status === 404) return null; // it is not there any more
        throw error;
      });
      if (!nucleus) {
        return store.set({ selected: null, chosen: store.get().chosen.filter((id) => id !== selected) });
      }
      onNucleus(nucleus);
      await show(nucleus);
    });
  });
  return element;
}
