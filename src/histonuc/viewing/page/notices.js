/**
 * Short messages over the slide, and the hint of the first visit.
 * @module
 */

import { byId, el } from "./dom.js";

const SEEN = "histonuc-hint-seen";

/**
 * Show a message for a while.
 * @param {string} text one sentence
 * @param {boolean} [bad] whether something went wrong
 */
export function tell(text, bad = false) {
  const message = el("div", { class: bad ? "bad" : "", text });
  byId("notice").replaceChildren(message);
  setTimeout(() => message.remove(), bad ? 10_000 : 4_000);
}

/** Show what went wrong. @param {Error} error whose message is for people */
export const report = (error) => tell(error.message, true);

/** The hint of the first visit, until it is closed once. */
export function showHint() {
  try {
    if (localStorage.getItem(SEEN)) return;
  } catch {
    return; // storage is switched off: then the hint would come every time
  }
  const hint = byId("hint");
  const close = el("button", {
    type: "button",
    text: "Got it",
    onclick: () => {
      hint.hidden = true;
      localStorage.setItem(SEEN, "1");
    },
  });
  hint.replaceChildren(
    el(
      "span",
      {},
      "Drag to move, scroll to zoom, click a nucleus to see it. ",
      el("kbd", { text: "?" }),
      " lists all keys.",
    ),
    close,
  );
  hint.hidden = false;
}
