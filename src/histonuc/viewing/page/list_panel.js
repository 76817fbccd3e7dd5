/**
 * The list of nuclei, sorted by any column, under the same filters as the picture.
 * @module
 */

import { latest } from "./api.js";
import { columnLabel } from "./appearance_panel.js";
import { el, icon } from "./dom.js";
import { swatch } from "./regions_panel.js";
import { formatCount, formatOf } from "./scale.js";
import { filtersOf } from "./state.js";

/** @typedef {import("./types.js").ListRow} ListRow */

const PAGE = 100;

/**
 * The list.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {(row: {x: number, y: number}) => void} wiring.goTo brings a nucleus into the view
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createListPanel({ store, api, camera, goTo, report }) {
  const ask = latest(report);
  const sort = el("select", { id: "sort-by", onchange: () => load({ offset: 0 }) });
  const descending = el("input", { type: "checkbox", id: "descending", onchange: () => load({ offset: 0 }) });
  const viewOnly = el("input", { type: "checkbox", id: "view-only", onchange: () => load({ offset: 0 }) });
  const place = el("span", { class: "muted number", id: "list-place", "aria-live": "polite" });
  const valueHead = el("th", { class: "number", scope: "col" });
  const body = el("tbody");
  /** @param {"previous"|"next"} name @param {number} pages */
  const pager = (name, pages) =>
    el(
      "button",
      {
        type: "button",
        class: "plain",
        "aria-label": `${name} page of the list`,
        onclick: () => load({ offset: Math.max(0, now.offset + pages * PAGE) }),
      },
      icon(name),
    );
  const [back, forth] = [pager("previous", -1), pager("next", 1)];
  const element = el(
    "div",
    {},
    el("div", { class: "row" }, el("label", { for: "sort-by", text: "Sort by" }), sort),
    el(
      "div",
      { class: "row checks" },
      el("label", {}, descending, "Largest first"),
      el("label", {}, viewOnly, "This view only"),
    ),
    el("div", { class: "pager" }, back, place, forth),
    el(
      "table",
      { id: "list" },
      el(
        "thead",
        {},
        el("tr", {}, el("th", { scope: "col", text: "No." }), el("th", { scope: "col", text: "Class" }), valueHead),
      ),
      body,
    ),
  );
  /** @type {{rows: ListRow[], total: number, offset: number}} */
  let now = { rows: [], total: 0, offset: 0 };
  let open = false;

  /** @param {{offset?: number, around?: number}} where @param {AbortSignal} [signal] */
  async function fetchPage(where, signal) {
    const state = store.get();
    /** @type {Record<string, unknown>} */
    const wish = {
      sort: sort.value || "id",
      descending: descending.checked,
      limit: PAGE,
      filters: filtersOf(state, { classes: true }),
      ...where,
    };
    if (viewOnly.checked) Object.assign(wish, camera.within());
    now = await api.json(`slides/${state.slide?.number}/list`, wish, signal);
    show();
  }

  /** @param {{offset?: number, around?: number}} where @param {number} [delay] */
  function load(where, delay = 0) {
    if (!store.get().slide?.has_nuclei) return;
    return ask((signal) => fetchPage(where, signal), delay);
  }

  /** @param {ListRow} row */
  function choose(row) {
    goTo(row);
    store.set({ selected: row.id });
  }

  function show() {
    const state = store.get();
    const column = state.slide?.columns.find(({ name }) => name === sort.value);
    valueHead.textContent = column ? columnLabel(column) : "Probability";
    body.replaceChildren(
      ...now.rows.map((row) => {
        return el(
          "tr",
          { class: "pick", "aria-selected": String(row.id === state.selected), onclick: () => choose(row) },
          el(
            "td",
            {},
            el("button", { type: "button", class: "plain", text: row.id, "aria-label": `Nucleus ${row.id}` }),
          ),
          el("td", { class: "class-cell" }, swatch(state, row.class), state.classes[row.class]?.name ?? ""),
          el("td", { class: "number", text: column ? formatOf(column, row.value) : row.probability.toFixed(3) }),
        );
      }),
    );
    const last = now.offset + now.rows.length;
    place.textContent = now.total
      ? `${formatCount(now.offset + 1)}–${formatCount(last)} of ${formatCount(now.total)}`
      : "No nuclei";
    back.disabled = now.offset === 0;
    forth.disabled = last >= now.total;
  }

  /**
   * Choose the next nucleus of the list, or the one before; across pages, and round the ends.
   * @param {1|-1} direction which way
   */
  async function step(direction) {
    const { selected } = store.get();
    try {
      let at = now.rows.findIndex(({ id }) => id === selected);
      if (at < 0 && selected !== null) {
        await fetchPage({ around: selected }).catch(() => fetchPage({ offset: 0 }));
        at = now.rows.findIndex(({ id }) => id === selected);
      } else if (!now.rows.length) {
        await fetchPage({ offset: 0 });
      }
      if (!now.total) return;
      const next = at < 0 ? now.offset : (now.offset + at + direction + now.total) % now.total;
      if (next < now.offset || next >= now.offset + now.rows.length) {
        await fetchPage({ offset: Math.floor(next / PAGE) * PAGE });
      }
      choose(now.rows[next - now.offset]);
    } catch (error) {
      report(/** @type {Error} */ (error));
    }
  }

  store.watch(["slide"], ({ slide }) => {
    const options = (slide?.columns ?? []).map((column) =>
      el("option", { value: column.name, text: columnLabel(column) }),
    );
    sort.replaceChildren(
      el("option", { value: "id", text: "Number" }),
      el("option", { value: "class", text: "Class" }),
      ...options,
    );
    now = { rows: [], total: 0, offset: 0 };
    if (open) void load({ offset: 0 });
  });
  store.watch(["ranges", "shown", "solo"], () => {
    now = { ...now, rows: [] };
    if (open) void load({ offset: 0 }, 120);
  });
  store.watch(["version"], () => {
    const { offset } = now;
    now = { ...now, rows: [] };
    if (open) void load({ offset }, 120);
  });
  store.watch(["selected", "palette"], show);
  camera.map.on("moveend", () => {
    if (open && viewOnly.checked) void load({ offset: 0 }, 150);
  });

  return {
    element,
    step,
    /** @param {boolean} value whether the list is on the screen */
    setOpen(value) {
      open = value;
      if (open && !now.rows.length) void load({ offset: 0 });
    },
  };
}
