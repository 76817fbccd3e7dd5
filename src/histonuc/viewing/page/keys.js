/**
 * Keys of the slide. They work only while the slide has the focus, so that they disturb neither typing nor screen readers.
 * Plain digits give classes.
 * @module
 */

import { openDialog } from "./dialogs.js";
import { el } from "./dom.js";

/** @typedef {{keys: string, what: string, codes: string[], run: ((event: KeyboardEvent) => void)|null}} Key */
/** @typedef {{title: string, keys: Key[]}} KeyGroup */

/**
 * One line of the table of keys.
 * @param {string} keys as people read it
 * @param {string} what what it does
 * @param {string[]} codes as `codeOf` writes them; empty where the map itself listens
 * @param {((event: KeyboardEvent) => void)|null} run what happens
 * @returns {Key}
 */
export const key = (keys, what, codes = [], run = null) => ({ keys, what, codes, run });

/**
 * "Shift+N", "Ctrl+Z", "Digit1", "?": the letter's key, and for digits the place on the keyboard, on which Shift types other signs.
 * @param {KeyboardEvent} event the event
 */
function codeOf(event) {
  const digit = /^Digit[0-9]$/.test(event.code);
  const name = digit ? event.code : event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const letter = digit || /^[A-Z]$/.test(name) || event.key.length > 1;
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return `${control}${event.shiftKey && letter ? "Shift+" : ""}${name}`;
}

/**
 * Listen on the slide.
 * @param {HTMLElement} target the slide
 * @param {KeyGroup[]} groups all keys
 */
export function listen(target, groups) {
  const table = new Map(
    groups.flatMap(({ keys }) => keys.flatMap(({ codes, run }) => codes.map((code) => [code, run]))),
  );
  target.addEventListener("keydown", (event) => {
    if (event.altKey) return;
    const run = table.get(codeOf(event));
    if (!run) return;
    event.preventDefault();
    event.stopPropagation();
    run(event);
  });
}

/** Show all keys. @param {KeyGroup[]} groups all keys */
export function openHelp(groups) {
  const sections = groups.map(({ title, keys }) =>
    el(
      "section",
      {},
      el("h3", { text: title }),
      el(
        "dl",
        {},
        ...keys.flatMap((one) => [
          el("dt", {}, ...one.keys.split(" / ").flatMap((word, i) => [i ? " " : "", el("kbd", { text: word })])),
          el("dd", { text: one.what }),
        ]),
      ),
    ),
  );
  const note = el("p", {
    class: "muted",
    text: "Keys work while the slide has the focus: click it, or press Tab until a frame surrounds it.",
  });
  openDialog("Keys", el("div", {}, note, el("div", { class: "keys" }, ...sections)));
}
