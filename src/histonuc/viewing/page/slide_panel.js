/**
 * What is known of the slide and its run: state, warnings, areas, provenance.
 * @module
 */

import { AREA_KINDS } from "./areas_layer.js";
import { el } from "./dom.js";
import { formatCount, formatValue } from "./scale.js";

/** @typedef {import("./types.js").Area} Area */

/** @param {[string, string|null|undefined][]} rows names and values; empty ones are left out */
function factTable(rows) {
  const lines = rows
    .filter(([, value]) => value)
    .map(([name, value]) => el("tr", {}, el("th", { scope: "row", text: name }), el("td", { text: value })));
  return el("table", { class: "facts" }, el("tbody", {}, ...lines));
}

/**
 * The panel of the slide.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {(area: Area) => void} wiring.goTo shows an area
 */
export function createSlidePanel({ store, goTo }) {
  const facts = el("div");
  const warnings = el("div");
  const list = el("div");
  const shown = el("input", {
    type: "checkbox",
    id: "areas-shown",
    onchange: () => store.set({ areas: shown.checked }),
  });
  const tissue = el("input", {
    type: "checkbox",
    id: "tissue-shown",
    onchange: () => store.set({ tissue: tissue.checked }),
  });
  const element = el(
    "div",
    {},
    facts,
    warnings,
    el(
      "div",
      { class: "row checks" },
      el("label", {}, shown, "Draw these areas"),
      el("label", {}, tissue, "Draw the border of the tissue"),
    ),
    list,
  );

  store.watch(["slide"], ({ slide }) => {
    if (!slide) return;
    tissue.disabled = !slide.picture_levels;
    const {
      size_px: [width, height],
      summary,
      provenance,
    } = slide;
    facts.replaceChildren(
      factTable([
        ["Slide", slide.name],
        ["Size", `${formatCount(width)} × ${formatCount(height)} px`],
        ["Scale", slide.mpp ? `${formatValue(slide.mpp, "µm")} a pixel` : "unknown; shown as if scanned at 40×"],
        ["Nuclei", slide.num_nuclei === null ? "" : formatCount(slide.num_nuclei)],
        ["Density", slide.density_per_mm2 === null ? "" : `${formatCount(Math.round(slide.density_per_mm2))} per mm²`],
        ["Tissue", formatValue(summary?.tissue_mm2, "mm²")],
        ["Left out", formatValue(summary?.left_out_mm2, "mm²")],
        ["Under ink", formatValue(summary?.ink_mm2, "mm²")],
        ["Model", provenance?.model],
        ["histonuc", provenance?.version],
      ]),
    );
    const texts = [slide.message, ...(slide.warnings ?? [])].filter(Boolean);
    warnings.replaceChildren(...texts.map((text) => el("p", { class: "warning", text })));
  });
  store.watch(["areas"], ({ areas }) => (shown.checked = areas));
  store.watch(["tissue"], (state) => (tissue.checked = state.tissue));

  return {
    element,
    /** @param {Area[]} areas areas of the slide */
    setAreas(areas) {
      list.replaceChildren(
        ...(areas.length
          ? areas.slice(0, 200).map((area) => {
              const mark = el("span", { class: "swatch" });
              mark.style.background = AREA_KINDS[area.kind].colour;
              return el(
                "div",
                { class: "row" },
                mark,
                el("button", {
                  type: "button",
                  class: "plain",
                  text: `${AREA_KINDS[area.kind].word}${area.text ? `: ${area.text}` : ""}`,
                  onclick: () => goTo(area),
                }),
              );
            })
          : [el("p", { class: "empty", text: "Nothing was skipped, flagged or under ink." })]),
      );
    },
  };
}
