/**
 * The list of drawn regions: names, classes, counts, densities and mean areas; files in and out.
 * @module
 */

import { classColour } from "./colours.js";
import { download, el, icon } from "./dom.js";
import { formatCount, formatValue } from "./scale.js";
import { classShown } from "./state.js";

/** @typedef {import("./regions.js").Drawn} Drawn */
/** @typedef {import("./types.js").RegionCount} RegionCount */

const NAMES = ["", "Tumor", "Stroma", "Immune cells", "Necrosis", "Ignore*"];

/**
 * @typedef {object} Wiring
 * @property {import("./state.js").Store} store the state
 * @property {import("./api.js").Api} api requests
 * @property {import("./map.js").SlideMap} camera the view
 * @property {import("./regions.js").Regions} regions the regions
 * @property {(text: string) => void} tell shows a notice
 * @property {(error: Error) => void} report shows an error
 */

/** The table of one region's counts. @param {import("./state.js").State} state @param {RegionCount} count */
function countTable(state, count) {
  const { classes } = state;
  const rows = count.classes.flatMap((one, index) =>
    classShown(state, index)
      ? [
          el(
            "tr",
            {},
            el("td", { class: "class-cell" }, swatch(state, index), classes[index]?.name ?? ""),
            ...[
              formatCount(one.num_nuclei),
              formatValue(rounded(one.density_per_mm2)),
              formatValue(one.mean_area_um2),
            ].map((text) => el("td", { class: "number", text })),
          ),
        ]
      : [],
  );
  const shown = count.classes.filter((_, index) => classShown(state, index));
  const num = shown.reduce((sum, one) => sum + one.num_nuclei, 0);
  const density = count.area_mm2 ? num / count.area_mm2 : null;
  const area = num ? shown.reduce((sum, one) => sum + one.num_nuclei * (one.mean_area_um2 ?? 0), 0) / num : null;
  const known = shown.some((one) => one.mean_area_um2 !== null);
  return el(
    "table",
    {},
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("td"),
        ...["nuclei", "per mm²", "area µm²"].map((text) => el("th", { class: "number", text, scope: "col" })),
      ),
    ),
    el("tbody", {}, ...rows),
    el(
      "tfoot",
      {},
      el(
        "tr",
        {},
        el("td", { text: "Shown" }),
        ...[formatCount(num), formatValue(rounded(density)), formatValue(known ? area : null)].map((text) =>
          el("td", { class: "number", text }),
        ),
      ),
    ),
  );
}

/** @param {number|null} value @returns {number|null} */
const rounded = (value) => (value === null ? null : Math.round(value));

/** A square in the colour of a class. @param {import("./state.js").State} state @param {number} index */
export function swatch(state, index) {
  const square = el("span", { class: "swatch" });
  square.style.background = classColour(state, index);
  return square;
}

/** The card of one region. @param {Wiring} wiring what it works with @param {Drawn} region the region */
function card({ store, regions }, region) {
  const state = store.get();
  const name = el("input", {
    type: "text",
    value: region.name,
    maxlength: 80,
    "aria-label": "Name of the region",
    onchange: () => {
      regions.rename(region, { name: name.value.trim() || region.name });
      label();
    },
  });
  const others = state.classes.map((one) => one.name);
  const options = [...new Set([...NAMES, ...others, region.class_name])];
  const class_name = el(
    "select",
    {
      onchange: () => regions.rename(region, { class_name: class_name.value }),
    },
    ...options.map((value) => el("option", { value, text: value || "No class" })),
  );
  class_name.value = region.class_name;
  const { count } = region;
  const show = el(
    "button",
    { type: "button", class: "plain", title: "Show it", onclick: () => regions.choose(region) },
    icon("fit"),
  );
  const remove = el(
    "button",
    { type: "button", class: "plain", title: "Remove it", onclick: () => regions.remove(region) },
    icon("close"),
  );
  const element = el(
    "div",
    { class: "region", role: "group" },
    el("div", { class: "fields" }, name, class_name, show, remove),
    count
      ? el("div", { class: "muted", text: `Area ${formatValue(count.area_mm2, "mm²")}` })
      : el("div", { class: "muted", text: "Counting …" }),
    count ? countTable(state, count) : null,
  );

  /** What screen readers say, which holds the region's name. */
  function label() {
    element.setAttribute("aria-label", region.name);
    class_name.setAttribute("aria-label", `Class of ${region.name}`);
    show.setAttribute("aria-label", `Show ${region.name}`);
    remove.setAttribute("aria-label", `Remove ${region.name}`);
  }

  label();
  return element;
}

/** The panel of regions. @param {Wiring} wiring what it works with */
export function createRegionsPanel(wiring) {
  const { store, api, camera, regions, tell, report } = wiring;
  const cards = el("div", { "aria-live": "polite" });
  const file = el("input", {
    type: "file",
    accept: ".geojson,.json",
    hidden: true,
    "aria-label": "GeoJSON file",
    id: "import-file",
    onchange: read,
  });
  /** @param {string} text @param {() => void} onclick */
  const button = (text, onclick) => el("button", { type: "button", text, onclick });
  const exports = [button("Export GeoJSON", () => void save("geojson")), button("Export CSV", () => void save("csv"))];
  const element = el(
    "div",
    {},
    el("p", {
      class: "muted",
      text: "Draw with the tools above the slide, take the view as it is, or read a GeoJSON file, for example from QuPath.",
    }),
    el(
      "div",
      { class: "buttons" },
      button("Add the view", addView),
      button("Import GeoJSON …", () => file.click()),
      file,
      ...exports,
    ),
    cards,
  );

  function addView() {
    const [x0, y0, x1, y1] = camera.box();
    regions.add({
      name: "",
      class_name: "",
      polygons: [
        [
          [
            [x0, y0],
            [x1, y0],
            [x1, y1],
            [x0, y1],
            [x0, y0],
          ],
        ],
      ],
    });
  }

  async function read() {
    const chosen = file.files?.[0];
    file.value = "";
    if (!chosen) return;
    try {
      const reply = await api.request(`slides/${store.get().slide?.number}/regions/import?frame=qupath`, {
        text: await chosen.text(),
      });
      const { regions: found, note } = await reply.json();
      found.forEach(regions.add);
      tell(note || `${found.length} region${found.length === 1 ? "" : "s"} read.`);
    } catch (error) {
      report(/** @type {Error} */ (error));
    }
  }

  /** @param {"geojson"|"csv"} format */
  async function save(format) {
    try {
      const { slide } = store.get();
      const reply = await api.request(`slides/${slide?.number}/regions/export?format=${format}`, {
        body: { ...regions.body(), frame: "qupath" },
      });
      download(await reply.blob(), `${(slide?.name ?? "slide").replace(/\.[^.]+$/, "")}-regions.${format}`);
    } catch (error) {
      report(/** @type {Error} */ (error));
    }
  }

  function refresh() {
    const all = regions.all();
    exports.forEach((one) => (one.disabled = all.length === 0));
    cards.replaceChildren(...all.map((region) => card(wiring, region)));
  }

  regions.onChange(refresh);
  store.watch(["classes", "shown", "solo", "palette"], refresh);
  return element;
}
