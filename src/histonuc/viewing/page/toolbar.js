/**
 * The bar at the top: magnifications, tools, and what can be done with the view.
 * @module
 */

import { formatPlace } from "./address.js";
import { byId, el, icon } from "./dom.js";

const MAGNIFICATIONS = [1, 2, 5, 10, 20, 40];

/** @typedef {"hand"|"rectangle"|"polygon"|"freehand"} ToolIcon */
/** @type {[string, ToolIcon, string][]} */
const TOOLS = [
  ["move", "hand", "Move (M)"],
  ["rectangle", "rectangle", "Rectangle (R)"],
  ["polygon", "polygon", "Polygon (P)"],
  ["freehand", "freehand", "Freehand (L)"],
];

/**
 * Put the command that opens this place into the clipboard.
 * @param {import("./state.js").Store} store the state
 * @param {import("./map.js").SlideMap} camera the view
 * @param {(text: string) => void} tell shows a notice
 */
export async function copyPlace(store, camera, tell) {
  const command = `${store.get().slide?.command} --at ${formatPlace(camera.view())}`;
  try {
    await navigator.clipboard.writeText(command);
    tell(`Copied: ${command}`);
  } catch {
    tell(command); // the browser forbids the clipboard: then the person can copy it
  }
}

/**
 * Fill the bar.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {{snapshot: () => void, copy: () => void, help: () => void, gallery: () => void, panels: () => void, turn: () => void}} wiring.actions what the buttons do
 */
export function createToolbar({ store, camera, actions }) {
  const magnifications = MAGNIFICATIONS.map((mag) =>
    el("button", {
      type: "button",
      text: `${mag}×`,
      "aria-label": `Magnification ${mag}`,
      onclick: () => camera.go({ mag }, true),
    }),
  );
  byId("magnifications").append(
    ...magnifications,
    el(
      "button",
      { type: "button", title: "Whole slide (Home)", "aria-label": "Whole slide", onclick: camera.fit },
      icon("fit"),
    ),
    el(
      "button",
      { type: "button", title: "Rotate by 15° (])", "aria-label": "Rotate by 15 degrees", onclick: actions.turn },
      icon("rotate"),
    ),
  );
  const tools = TOOLS.map(([name, picture, title]) =>
    el(
      "button",
      { type: "button", title, "aria-label": title, onclick: () => store.set({ tool: name }) },
      icon(picture),
    ),
  );
  byId("tools").append(...tools);
  const palette = el(
    "button",
    {
      type: "button",
      title: "Colours that colour-blind people can tell apart (C)",
      "aria-label": "Colour-blind-safe colours",
      onclick: () => togglePalette(store),
    },
    icon("palette"),
  );
  byId("actions").append(
    palette,
    el("button", { type: "button", title: "Copy place", onclick: actions.copy }, icon("link"), "Copy place"),
    el("button", { type: "button", title: "Snapshot (S)", onclick: actions.snapshot }, icon("camera"), "Snapshot"),
    el(
      "button",
      { type: "button", title: "Panels on and off (T)", "aria-label": "Panels on and off", onclick: actions.panels },
      icon("panels"),
    ),
    el(
      "button",
      { type: "button", title: "All keys (?)", "aria-label": "All keys", onclick: actions.help },
      icon("help"),
    ),
  );
  byId("slide-button").addEventListener("click", actions.gallery);

  store.watch(["tool"], ({ tool }) =>
    tools.forEach((button, i) => button.setAttribute("aria-pressed", String(TOOLS[i][0] === tool))),
  );
  store.watch(["palette"], (state) => palette.setAttribute("aria-pressed", String(state.palette === "safe")));
  camera.map.on("moveend", () => {
    const { slide } = store.get();
    if (!slide) return;
    const { mag } = camera.view();
    magnifications.forEach((button, i) =>
      button.setAttribute("aria-pressed", String(Math.abs(mag / MAGNIFICATIONS[i] - 1) < 0.01)),
    );
  });
}

/** Other colours. @param {import("./state.js").Store} store the state */
export const togglePalette = (store) => store.set({ palette: store.get().palette === "safe" ? "standard" : "safe" });
