/**
 * Dialogs: the browser's own, so that Escape closes them and the focus stays inside and comes back.
 * @module
 */

import { byId, el, icon } from "./dom.js";

/**
 * Open a dialog.
 * @param {string} title its heading
 * @param {Node} content what it shows
 * @returns {HTMLDialogElement} to close it from outside
 */
export function openDialog(title, content) {
  const dialog = el(
    "dialog",
    { "aria-label": title },
    el(
      "div",
      { class: "heading" },
      el("h2", { text: title }),
      el(
        "button",
        { type: "button", class: "plain", "aria-label": "Close", onclick: () => dialog.close() },
        icon("close"),
      ),
    ),
    content,
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // a click beside it
  });
  byId("dialogs").append(dialog);
  dialog.showModal();
  return dialog;
}
