/**
 * The dialogs of correcting: a new class, and a comment.
 * @module
 */

import { openDialog } from "./dialogs.js";
import { el } from "./dom.js";

const COLOURS = ["#ffb000", "#00c2a8", "#c77dff", "#ff7043", "#9ccc65", "#4dd0e1", "#f06292", "#d4e157"];

/**
 * A form in a dialog.
 * @param {string} title its heading
 * @param {[string, HTMLElement][]} rows labels and fields
 * @param {string} action what its button says
 * @param {() => unknown} onSend called when it is sent
 */
function openForm(title, rows, action, onSend) {
  const lines = rows.flatMap(([text, field]) => {
    field.id = `form-${text.toLowerCase()}`;
    return [el("label", { for: field.id, text }), field];
  });
  const form = el(
    "form",
    {
      class: "form",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        dialog.close();
        void onSend();
      },
    },
    ...lines,
    el("span"),
    el("button", { type: "submit", text: action }),
  );
  const dialog = openDialog(title, form);
  rows[0][1].focus();
}

/**
 * Ask for a new class.
 * @param {import("./state.js").State} state the state
 * @param {(wish: {name: string, colour: string, digit: number|null}) => unknown} onSend called with it
 */
export function openClassDialog({ corrections, classes }, onSend) {
  const taken = new Set((corrections?.classes ?? []).map(({ digit }) => digit));
  const digits = Array.from({ length: 9 }, (_, i) => i + 1);
  const free = digits.find((digit) => !taken.has(digit));
  const name = el("input", { type: "text", maxlength: 80, required: true });
  const colour = el("input", { type: "color", value: COLOURS[classes.length % COLOURS.length] });
  const digit = el(
    "select",
    {},
    el("option", { value: "", text: "None" }),
    ...digits.map((one) =>
      el("option", { value: one, text: taken.has(one) ? `${one} (taken from another class)` : one }),
    ),
  );
  digit.value = String(free ?? "");
  openForm(
    "New class",
    [
      ["Name", name],
      ["Colour", colour],
      ["Key", digit],
    ],
    "Make the class",
    () => {
      const text = name.value.trim().replace(/\s+/g, " ");
      if (text) void onSend({ name: text, colour: colour.value, digit: digit.value ? Number(digit.value) : null });
    },
  );
}

/** Ask for a comment. @param {string} title what it is about @param {(text: string) => unknown} onSend called with it */
export function openCommentDialog(title, onSend) {
  const text = el("textarea", { rows: 4, maxlength: 2000, required: true });
  openForm(title, [["Comment", text]], "Keep the comment", () => text.value.trim() && onSend(text.value.trim()));
}
