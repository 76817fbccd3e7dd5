/**
 * Filters by numeric columns, each with its histogram.
 * @module
 */

import { latest } from "./api.js";
import { columnLabel } from "./appearance_panel.js";
import { columnsInUse } from "./colours.js";
import { el, icon } from "./dom.js";
import { createHistogram } from "./histogram.js";
import { MAX_COLUMNS } from "./shaders.js";
import { classShown } from "./state.js";

/** @typedef {import("./state.js").Store} Store */
/** @typedef {import("./types.js").Column} Column */
/** @typedef {import("./types.js").Range} Range */

/**
 * @typedef {object} Wiring
 * @property {Store} store the state
 * @property {import("./api.js").Api} api requests
 * @property {(text: string) => void} tell shows a notice
 * @property {(error: Error) => void} report shows an error
 */

/** Change or end the filter of a column. @param {Store} store @param {string} name @param {Range|null} range */
export function setRange(store, name, range) {
  const { [name]: _, ...others } = store.get().ranges;
  store.set({ ranges: range ? { ...others, [name]: range } : others });
}

/** @param {number} value rounded to what can be read */
const rounded = (value) => Number(value.toPrecision(4));

/**
 * The filter of one column: a card with a histogram and two fields.
 * @param {Wiring} wiring what it works with
 * @param {Column} column the column
 * @param {() => void} onRemove called when the person removes it
 */
function createFilter({ store, api, report }, column, onRemove) {
  const ask = latest(report);
  const histogram = createHistogram({
    column,
    onRange: ([low, high]) => setRange(store, column.name, [rounded(low), rounded(high)]),
  });
  /** @param {string} word @param {0|1} end */
  const field = (word, end) => {
    const input = el("input", {
      type: "number",
      step: "any",
      "aria-label": `${column.title}: ${word}`,
      placeholder: word,
      onchange: () => {
        const range = /** @type {Range} */ ([...(store.get().ranges[column.name] ?? [null, null])]);
        range[end] = input.value === "" ? null : Number(input.value);
        setRange(store, column.name, range[0] === null && range[1] === null ? null : range);
      },
    });
    return input;
  };
  const fields = [field("least", 0), field("most", 1)];
  const element = el(
    "div",
    { class: "filter", role: "group", "aria-label": `Filter ${column.title}` },
    el(
      "div",
      { class: "heading" },
      el("h3", { text: columnLabel(column) }),
      el(
        "button",
        { type: "button", class: "plain", "aria-label": `Remove the filter ${column.title}`, onclick: onRemove },
        icon("close"),
      ),
    ),
    histogram.canvas,
    el("div", { class: "limits" }, fields[0], el("span", { class: "muted", text: "to" }), fields[1]),
  );
  /** @type {number[][]} */
  let counts = [];
  let asked = "";

  return {
    element,
    /** Draw anew after a change. @param {import("./state.js").State} state */
    refresh(state) {
      const range = state.ranges[column.name] ?? [null, null];
      fields.forEach((input, i) => {
        if (input === document.activeElement) return; // the person is typing there
        input.value = range[i] === null ? "" : String(rounded(Number(range[i])));
      });
      histogram.setRange(range);
      const sums = counts[0]?.map((_, bin) =>
        counts.reduce((sum, one, index) => sum + (classShown(state, index) ? one[bin] : 0), 0),
      );
      if (sums) histogram.setSums(sums);
      const { [column.name]: _, ...others } = state.ranges;
      const wish = JSON.stringify([state.slide?.number, others]);
      if (wish === asked) return;
      asked = wish;
      void ask(async (signal) => {
        const body = {
          column: column.name,
          bins: histogram.num_bins,
          low: column.low,
          high: column.high,
          filters: { ranges: others },
        };
        counts = (await api.json(`slides/${state.slide?.number}/histogram`, body, signal)).counts;
        this.refresh(store.get());
      }, 80);
    },
  };
}

/** The panel of filters. @param {Wiring} wiring what it works with */
export function createFiltersPanel(wiring) {
  const { store, tell } = wiring;
  const add = el("select", { "aria-label": "Add a filter", id: "add-filter", onchange: () => addFilter(add.value) });
  const clear = el("button", { type: "button", class: "plain", text: "Clear", onclick: removeAll });
  const cards = el("div");
  const element = el(
    "section",
    { class: "block", "aria-label": "Filters" },
    el("div", { class: "heading" }, el("h2", { text: "Filters" }), clear),
    add,
    cards,
  );
  /** @type {Map<string, ReturnType<typeof createFilter>>} */
  const open = new Map();

  function fill() {
    const { slide } = store.get();
    const left = (slide?.columns ?? []).filter(({ name }) => !open.has(name));
    add.replaceChildren(
      el("option", { value: "", text: "Add a filter …" }),
      ...left.map((column) => el("option", { value: column.name, text: columnLabel(column) })),
    );
    clear.hidden = open.size === 0;
  }

  /** @param {string} name */
  function addFilter(name) {
    const state = store.get();
    const column = state.slide?.columns.find((one) => one.name === name);
    if (!column) return;
    if (new Set([...columnsInUse(state), ...open.keys(), name]).size > MAX_COLUMNS) {
      add.value = "";
      return tell(`At most ${MAX_COLUMNS} columns can be used at once. Remove a filter first.`);
    }
    const card = createFilter(wiring, column, () => remove(name));
    open.set(name, card);
    cards.append(card.element);
    card.refresh(state);
    fill();
  }

  /** @param {string} name */
  function remove(name) {
    open.get(name)?.element.remove();
    open.delete(name);
    setRange(store, name, null);
    fill();
    add.focus();
  }

  function removeAll() {
    for (const { element } of open.values()) element.remove();
    open.clear();
    if (Object.keys(store.get().ranges).length > 0) store.set({ ranges: {} });
    fill();
  }

  store.watch(["slide"], ({ slide }) => {
    element.hidden = !slide?.has_nuclei;
    removeAll();
  });
  store.watch(["ranges", "shown", "solo"], (state) => open.forEach((card) => card.refresh(state)));
  return element;
}
