/**
 * How nuclei are drawn: outlines, filled or off, opacity, and what gives the colour, with its legend.
 * @module
 */

import { colouring, columnsInUse, rampGradient } from "./colours.js";
import { el } from "./dom.js";
import { formatValue } from "./scale.js";
import { MAX_COLUMNS } from "./shaders.js";

/** @typedef {import("./state.js").Store} Store */

/** Title with unit. @param {import("./types.js").Column} column */
export const columnLabel = ({ title, unit }) => (unit ? `${title} (${unit})` : title);

/** The three ways to draw, as buttons of which one is on. @param {Store} store the state */
function createModes(store) {
  /** @type {[string, Partial<import("./state.js").State>, string][]} */
  const modes = [
    ["Outlines", { fill: "outlines", visible: true }, "F"],
    ["Filled", { fill: "filled", visible: true }, "F"],
    ["Off", { visible: false }, "H"],
  ];
  const buttons = modes.map(([text, patch, key]) =>
    el("button", {
      type: "button",
      role: "radio",
      text,
      title: `${text} (${key})`,
      onclick: () => store.set(patch),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const at = (buttons.findIndex((one) => one === event.target) + step + 3) % 3;
        buttons[at].focus();
        buttons[at].click();
      },
    }),
  );
  store.watch(["fill", "visible"], ({ fill, visible }) => {
    const on = visible ? (fill === "outlines" ? 0 : 1) : 2;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-checked", String(i === on));
      button.tabIndex = i === on ? 0 : -1;
    });
  });
  return el("div", { class: "segments", role: "radiogroup", "aria-label": "Draw nuclei" }, ...buttons);
}

/**
 * The panel of appearance.
 * @param {object} wiring
 * @param {Store} wiring.store the state
 * @param {(text: string) => void} wiring.tell shows a notice
 */
export function createAppearancePanel({ store, tell }) {
  const opacity = el("input", {
    type: "range",
    min: "0.1",
    max: "1",
    step: "0.05",
    id: "opacity",
    value: "0.9",
    oninput: () => store.set({ opacity: Number(opacity.value) }),
  });
  const by = el("select", {
    id: "colour-by",
    onchange: () => {
      const next = { ...store.get(), colourBy: by.value };
      if (columnsInUse(next).length > MAX_COLUMNS) {
        by.value = store.get().colourBy;
        return tell(`At most ${MAX_COLUMNS} columns can be used at once. Remove a filter first.`);
      }
      store.set({ colourBy: by.value });
    },
  });
  const ramp = el("div", { class: "ramp" });
  const ends = el("div", { class: "ends" });
  const afar = el("p", { class: "muted", text: "Densities show the mean in each cell." });
  const legend = el("div", { id: "legend" }, ramp, ends, afar);
  const element = el(
    "section",
    { class: "block", "aria-label": "Appearance" },
    el("div", { class: "heading" }, el("h2", { text: "Appearance" })),
    createModes(store),
    el("div", { class: "row" }, el("label", { for: "opacity", text: "Opacity" }), opacity),
    el("div", { class: "row" }, el("label", { for: "colour-by", text: "Colour by" }), by),
    legend,
  );

  store.watch(["slide"], ({ slide, colourBy }) => {
    element.hidden = !slide?.has_nuclei;
    const options = (slide?.columns ?? []).map((column) =>
      el("option", { value: column.name, text: columnLabel(column) }),
    );
    by.replaceChildren(el("option", { value: "class", text: "Class" }), ...options);
    by.value = colourBy;
  });
  store.watch(["slide", "colourBy", "palette", "ranges"], (state) => {
    by.value = state.colourBy;
    const shown = colouring(state);
    legend.hidden = !shown;
    if (!shown) return;
    const { column, low, high } = shown;
    ramp.style.background = rampGradient(state.palette);
    ends.replaceChildren(
      el("span", { text: formatValue(low, column.unit) }),
      el("span", { text: formatValue(high, column.unit) }),
    );
  });
  return element;
}
