/**
 * The list of classes: on and off, one alone, and counts that match the picture.
 * @module
 */

import { latest } from "./api.js";
import { classColour } from "./colours.js";
import { el } from "./dom.js";
import { formatCount } from "./scale.js";
import { classShown, filtersOf } from "./state.js";

/** @typedef {import("./state.js").Store} Store */

/** Show a class or hide it. @param {Store} store the state @param {number} index number of the class */
function toggleClass(store, index) {
  const { classes, shown, solo } = store.get();
  if (index >= classes.length) return;
  const now = classes.map((_, i) => (solo === null ? shown[i] !== false : i === solo));
  now[index] = !now[index];
  store.set({ shown: now, solo: null });
}

/** Show a class alone, or all as before. @param {Store} store the state @param {number} index number of the class */
export function soloClass(store, index) {
  if (index >= store.get().classes.length) return;
  store.set({ solo: store.get().solo === index ? null : index });
}

/**
 * The panel of classes.
 * @param {object} wiring
 * @param {Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./densities.js").DensitySource} wiring.densities counts under the filters
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createClassesPanel({ store, api, densities, camera, report }) {
  const rows = el("div");
  const total = el("dd", { class: "number", id: "total" });
  const inView = el("dd", { class: "number", id: "in-view" });
  const totals = el(
    "dl",
    { class: "totals" },
    el("dt", { text: "Shown in the slide" }),
    total,
    el("dt", { text: "Shown in this view" }),
    inView,
  );
  const note = el("p", { class: "warning", id: "class-note" });
  /** @param {string} text @param {boolean} value */
  const both = (text, value) =>
    el("button", {
      type: "button",
      class: "plain",
      text,
      onclick: () => store.set({ shown: store.get().classes.map(() => value), solo: null }),
    });
  const element = el(
    "section",
    { class: "block", "aria-label": "Classes" },
    el(
      "div",
      { class: "heading" },
      el("h2", { text: "Nuclei" }),
      el("span", {}, both("All", true), both("None", false)),
    ),
    rows,
    totals,
    note,
  );
  /** @type {number[]|null} */
  let viewCounts = null;
  const ask = latest(report);

  function build() {
    const { slide, classes } = store.get();
    element.hidden = !slide?.has_nuclei;
    note.textContent = slide?.class_note ?? "";
    note.hidden = !slide?.class_note;
    rows.replaceChildren(
      ...classes.map((one, index) => {
        const box = el("input", { type: "checkbox", onchange: () => toggleClass(store, index) });
        const solo = el("button", {
          type: "button",
          class: "plain solo",
          text: "Only",
          "aria-label": `Only ${one.name}`,
          title: index < 9 ? `Only ${one.name} (Shift+${index + 1})` : `Only ${one.name}`,
          onclick: () => soloClass(store, index),
        });
        return el(
          "div",
          { class: "class-row" },
          el(
            "label",
            {},
            box,
            el("span", { class: "swatch" }),
            el("span", { class: "name", text: one.name, title: one.name }),
          ),
          el("span", { class: "number" }),
          solo,
        );
      }),
    );
  }

  function refresh() {
    const state = store.get();
    const { slide } = state;
    if (!slide) return;
    const counts = densities.get()?.totals ?? state.classes.map(({ num_nuclei }) => num_nuclei);
    [...rows.children].forEach((row, index) => {
      const on = classShown(state, index);
      row.classList.toggle("off", !on);
      const parts = {
        box: /** @type {HTMLInputElement} */ (row.querySelector("input")),
        swatch: /** @type {HTMLElement} */ (row.querySelector(".swatch")),
        number: /** @type {HTMLElement} */ (row.querySelector(".number")),
        solo: /** @type {HTMLElement} */ (row.querySelector(".solo")),
      };
      parts.box.checked = on;
      parts.swatch.style.background = classColour(state, index);
      parts.number.textContent = formatCount(counts[index] ?? 0);
      parts.solo.setAttribute("aria-pressed", String(state.solo === index));
    });
    /** @param {number[]} some */
    const shown = (some) => some.reduce((sum, n, i) => sum + (classShown(state, i) ? n : 0), 0);
    total.textContent = state.visible ? formatCount(shown(counts)) : "off";
    inView.textContent = !state.visible ? "off" : viewCounts ? formatCount(shown(viewCounts)) : "…";
    element.classList.toggle("busy", densities.waiting());
  }

  function countView() {
    const state = store.get();
    const { slide } = state;
    if (!slide?.has_nuclei) return;
    void ask(async (signal) => {
      const filters = filtersOf(state, { classes: false });
      viewCounts = (await api.json(`slides/${slide.number}/counts`, { filters, ...camera.within() }, signal)).by_class;
      refresh();
    }, 120);
  }

  store.watch(["slide", "classes"], build);
  store.watch(["slide", "classes", "shown", "solo", "palette", "visible"], refresh);
  store.watch(["slide", "ranges", "version"], countView);
  densities.onChange(refresh);
  camera.map.on("moveend", countView);
  return element;
}
