/**
 * The gallery of slides with thumbnails and counts.
 * @module
 */

import { openDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { formatCount } from "./scale.js";

/** @typedef {import("./types.js").SlideEntry} SlideEntry */

const STATES = {
  whole: "",
  unfinished: "Not finished",
  damaged: "Damaged",
  older: "Older version",
  slide: "No result",
};

/** Shares of the classes as one bar. @param {SlideEntry} entry @param {"standard"|"safe"} palette */
function shareBar({ classes, num_nuclei }, palette) {
  const parts = classes.map((one) => {
    const part = el("span");
    part.style.width = `${(100 * one.num_nuclei) / Math.max(num_nuclei ?? 1, 1)}%`;
    part.style.background = palette === "safe" ? one.safe_colour : one.colour;
    return part;
  });
  return el("span", { class: "shares", "aria-hidden": "true" }, ...parts);
}

/** What is not as it should be, in a few words. @param {SlideEntry} entry */
function badge({ state, picture, num_warnings }) {
  const words = [
    STATES[state],
    picture === "missing" ? "Slide not found" : picture === "unreadable" ? "Slide unreadable" : "",
    num_warnings ? `${num_warnings} warning${num_warnings > 1 ? "s" : ""}` : "",
  ];
  return words.filter(Boolean).join(" · ");
}

/**
 * Show the gallery.
 * @param {object} wiring
 * @param {SlideEntry[]} wiring.slides the slides
 * @param {import("./api.js").Api} wiring.api requests
 * @param {"standard"|"safe"} wiring.palette colours
 * @param {(number: number) => void} wiring.onChoose called with the slide that is chosen
 */
export function openGallery({ slides, api, palette, onChoose }) {
  const cards = slides.map((entry) => {
    const blank = el("span", { class: "blank", text: "…" });
    const words = badge(entry);
    const card = el(
      "button",
      {
        type: "button",
        class: "card",
        onclick: () => {
          dialog.close();
          onChoose(entry.number);
        },
      },
      blank,
      el("b", { text: entry.name, title: entry.name }),
      el("span", {
        class: "muted",
        text: entry.num_nuclei === null ? "No nuclei" : `${formatCount(entry.num_nuclei)} nuclei`,
      }),
      entry.classes.length ? shareBar(entry, palette) : null,
      words ? el("span", { class: "badge", text: words }) : null,
    );
    void api.request(`slides/${entry.number}/thumbnail`).then(
      async (reply) => {
        const image = el("img", { alt: "" });
        image.src = URL.createObjectURL(await reply.blob());
        image.onload = () => URL.revokeObjectURL(image.src);
        blank.replaceWith(image);
      },
      () => (blank.textContent = "No picture"),
    );
    return card;
  });
  const dialog = openDialog(`${slides.length} slides`, el("div", { class: "cards" }, ...cards));
}
