/**
 * The panel of corrections: tools, classes, what to look at next, fields of truth, and what people disagree about.
 * @module
 */

import { el, icon } from "./dom.js";
import { formatCount } from "./scale.js";
import { swatch } from "./regions_panel.js";

/** @typedef {import("./types.js").Corrections} Corrections */

/**
 * @typedef {object} Wiring
 * @property {import("./state.js").Store} store the state
 * @property {import("./correcting.js").Correcting} correcting what can be done
 * @property {import("./corrections.js").CorrectionSource} corrections what was done
 * @property {(place: {x: number, y: number}) => void} goTo brings a place into the view
 * @property {HTMLElement} teach the place for teaching
 */

/** Tools that stay in the hand: name, title, key, what it does. @type {[string, string, string, string][]} */
const TOOLS = [
  ["paint", "Brush", "B", "Drag over nuclei: all of them get the class"],
  ["lasso", "Lasso", "O", "Drag around nuclei to choose them"],
  ["add", "Add", "A", "Click a few points around a nucleus that was missed, or draw around it"],
  ["redraw", "Redraw", "E", "Draw the outline of the chosen nucleus anew"],
  ["split", "Split", "K", "Draw a line across a nucleus that is two"],
];

/** A button of an action. @param {string} text @param {string} title @param {() => unknown} onclick */
const button = (text, title, onclick) => el("button", { type: "button", text, title, onclick });

/** A block with a heading. @param {string} title @param {...Node} content */
const block = (title, ...content) =>
  el("section", { class: "part", "aria-label": title }, el("h2", { text: title }), ...content);

/** The tools, and what is done at once. @param {Wiring} wiring what it works with */
function createTools({ store, correcting }) {
  const tools = TOOLS.map(([name, text, key, what]) =>
    el("button", { type: "button", text, title: `${what} (${key})`, onclick: () => correcting.use(name) }),
  );
  store.watch(["tool"], ({ tool }) =>
    tools.forEach((one, i) => one.setAttribute("aria-pressed", String(TOOLS[i][0] === tool))),
  );
  const hint = el("p", { class: "muted", id: "tool-hint", "aria-live": "polite" });
  store.watch(["tool", "chosen"], ({ tool, chosen }) => {
    const found = TOOLS.find(([name]) => name === tool);
    const num = chosen.length;
    const many = num === 1 ? "One nucleus is" : `${formatCount(num)} nuclei are`;
    hint.textContent =
      num && (tool === "move" || tool === "lasso")
        ? `${many} chosen. A digit gives a class, Shift+click adds one.`
        : found
          ? `${found[3]}. Esc puts the tool down.`
          : tool === "field"
            ? "Click its middle (128 µm), or drag a square. Esc puts the tool down."
            : "Click a nucleus, then give it a class with a digit.";
  });
  return [
    el("div", { class: "buttons tight", role: "group", "aria-label": "Tools of correcting" }, ...tools),
    el(
      "div",
      { class: "buttons tight", role: "group", "aria-label": "What is done to the chosen nuclei" },
      button("Join", "Make one nucleus of those that are chosen (J)", () => void correcting.join()),
      button("Delete", "The chosen nuclei are none (Delete)", () => void correcting.remove()),
      button("Comment", "Say something about the chosen nucleus, or this place (V)", correcting.comment),
    ),
    hint,
  ];
}

/** The classes with their keys. @param {Wiring} wiring what it works with */
function createClasses({ store, correcting }) {
  const list = el("div", { class: "kinds" });
  store.watch(["corrections", "classes", "palette", "paintClass"], (state) => {
    const entries = state.corrections?.classes ?? [];
    list.replaceChildren(
      ...entries.map(({ name, digit }, index) =>
        el(
          "button",
          {
            type: "button",
            class: "kind",
            title: digit ? `Give this class (${digit})` : "Give this class",
            "aria-pressed": String(index === state.paintClass),
            onclick: () => void correcting.give(name),
          },
          digit ? el("kbd", { text: digit, "aria-hidden": "true" }) : el("span"),
          swatch(state, index),
          el("span", { class: "name", text: name }),
        ),
      ),
    );
  });
  const size = el("input", {
    type: "range",
    min: 4,
    max: 80,
    id: "brush-size",
    oninput: () => store.set({ brush: Number(size.value) }),
  });
  store.watch(["brush"], ({ brush }) => (size.value = String(brush)));
  return block(
    "Class",
    list,
    el(
      "div",
      { class: "buttons" },
      button("As predicted", "Give back the predicted class (0)", () => void correcting.give(null)),
      button("New class …", "Make a class of your own (D)", correcting.defineClass),
    ),
    el("div", { class: "row" }, el("label", { for: "brush-size", text: "Brush" }), size),
  );
}

/** How far things are, undo and redo. @param {Wiring} wiring what it works with */
function createProgress({ store, correcting }) {
  const count = el("p", { id: "num-corrected", "aria-live": "polite" });
  const why = el("p", { class: "warning", id: "why-not" });
  const notes = el("div");
  const undo = button("Undo", "Take back (Ctrl+Z)", () => void correcting.undo());
  const redo = button("Redo", "Bring back (Ctrl+Shift+Z)", () => void correcting.redo());
  store.watch(["corrections"], ({ corrections }) => {
    const { num_corrected = 0, people = {}, can_write, why_not = "", can_undo = "", can_redo = "" } = corrections ?? {};
    const names = Object.entries(people).map(([name, num]) => `${name} ${formatCount(num)}`);
    count.textContent = num_corrected
      ? `${formatCount(num_corrected)} ${num_corrected === 1 ? "nucleus" : "nuclei"} corrected (${names.join(", ")})`
      : "Nothing corrected yet";
    why.textContent = why_not;
    why.hidden = !why_not;
    undo.disabled = !can_write || !can_undo;
    redo.disabled = !can_write || !can_redo;
    undo.title = can_undo ? `Undo ${can_undo} (Ctrl+Z)` : "Nothing to undo";
    redo.title = can_redo ? `Redo ${can_redo} (Ctrl+Shift+Z)` : "Nothing to redo";
    notes.replaceChildren(...(corrections?.notes ?? []).map((text) => el("p", { class: "warning", text })));
  });
  return el("div", {}, why, count, notes, el("div", { class: "buttons" }, undo, redo));
}

/** A button that goes to a place. @param {Wiring} wiring @param {string} label @param {import("./types.js").Point} place */
const goButton = ({ goTo }, label, [x, y]) =>
  el(
    "button",
    { type: "button", class: "plain", title: "Show it", "aria-label": label, onclick: () => goTo({ x, y }) },
    icon("fit"),
  );

/** Fields of truth. @param {Wiring} wiring what it works with */
function createFields(wiring) {
  const { store, correcting } = wiring;
  const list = el("div");
  store.watch(["corrections"], ({ corrections }) => {
    list.replaceChildren(
      ...(corrections?.fields ?? []).map(({ key, ring, complete }, i) => {
        const box = el("input", { type: "checkbox", onchange: () => void correcting.toggleField(key) });
        box.checked = complete;
        const [xs, ys] = [ring.map(([x]) => x), ring.map(([, y]) => y)];
        /** @param {number[]} some */
        const middle = (some) => (Math.min(...some) + Math.max(...some)) / 2;
        return el(
          "div",
          { class: "row checks field" },
          el("label", {}, box, `Field ${i + 1} is complete`),
          goButton(wiring, `Show field ${i + 1}`, [middle(xs), middle(ys)]),
        );
      }),
    );
  });
  return block(
    "Fields of truth",
    el("p", {
      class: "muted",
      text: "Outlines are taught only from fields in which every nucleus is right. Mark a field complete once that is so.",
    }),
    el(
      "div",
      { class: "buttons" },
      button("New field", "A square of 128 µm (Q)", () => correcting.use("field")),
    ),
    list,
  );
}

/** What to look at next. @param {Wiring} wiring what it works with */
function createNext({ store, correcting }) {
  const held = el("p", { class: "muted" });
  store.watch(["corrections"], ({ corrections }) => {
    const num = corrections?.num_held_out ?? 0;
    held.textContent = `Three of ten are drawn at random and held out, so that scores stay honest: ${formatCount(num)} so far.`;
  });
  return block(
    "What to look at",
    el(
      "div",
      { class: "buttons" },
      button("Next", "Go to a nucleus whose label teaches much (X)", () => void correcting.next()),
    ),
    held,
  );
}

/** Lists that are there only where they hold something. @param {Wiring} wiring what it works with */
function createLists(wiring) {
  const { store, corrections: source } = wiring;
  const all = el("div");
  store.watch(["corrections"], ({ corrections }) => {
    if (!corrections) return all.replaceChildren();
    const { conflicts, num_conflicts, comments, unmatched, num_unmatched } = corrections;
    /** @type {HTMLElement[]} */
    const parts = [];
    if (num_conflicts) {
      const cards = conflicts.map(({ id, place, choices }) =>
        el(
          "div",
          { class: "region", role: "group", "aria-label": `Nucleus ${id}` },
          el("div", { class: "row" }, `Nucleus ${id}`, goButton(wiring, `Show nucleus ${id}`, place)),
          ...choices.map(({ operation, text, by, time }) =>
            button(
              `${text} – ${by}, ${time.slice(0, 10)}`,
              "This one counts",
              () => void source.send({ do: "choose", nuclei: [id], operation }),
            ),
          ),
        ),
      );
      const text = `${formatCount(num_conflicts)} nuclei on which people disagree stay as predicted until you choose.`;
      parts.push(block("Conflicts", el("p", { class: "muted", text }), ...cards));
    }
    if (comments.length) {
      const rows = comments.map(({ text, by, place, id }) =>
        el(
          "div",
          { class: "row" },
          goButton(wiring, `Show the place of this comment`, place),
          el("span", { text: `${text} – ${by}${id ? `, nucleus ${id}` : ""}` }),
        ),
      );
      parts.push(block("Comments", ...rows));
    }
    if (num_unmatched) {
      const rows = unmatched.map(({ text, place }) =>
        el("div", { class: "row" }, goButton(wiring, "Show its place", place), el("span", { text })),
      );
      const text = `${formatCount(num_unmatched)} corrections are of nuclei that this prediction does not have.`;
      parts.push(block("Not found again", el("p", { class: "muted", text }), ...rows));
    }
    all.replaceChildren(...parts);
  });
  return all;
}

/** The panel. @param {Wiring} wiring what it works with */
export function createCorrectPanel(wiring) {
  return el(
    "div",
    {},
    createProgress(wiring),
    ...createTools(wiring),
    createClasses(wiring),
    createNext(wiring),
    wiring.teach,
    createFields(wiring),
    createLists(wiring),
  );
}
