/**
 * The place for teaching in the panel of corrections.
 * @module
 */

import { el } from "./dom.js";

/** The block. */
/** @param {unknown} _wiring what it works with */
export function createTeachPanel(_wiring) {
  return el("section", { class: "part", "aria-label": "Teach" }, el("h2", { text: "Teach" }));
}
