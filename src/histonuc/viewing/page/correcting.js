/**
 * What a person does to nuclei: choose some, give a class, delete, draw, split, join, undo, and go to what to look at next.
 * @module
 */

import { classColour } from "./colours.js";
import { openClassDialog, openCommentDialog } from "./correct_dialogs.js";
import { createPen } from "./pen.js";
import { nucleiInside, nucleiUnder, nucleusAt } from "./picking.js";

/** @typedef {import("./types.js").Point} Point */

const WHY = {
  unsure: "Its class is among the least certain.",
  unlike: "It is unlike all that you labelled.",
  random: "Drawn at random and held out: it is scored on, never taught.",
};

/** Even-odd. @param {Point[]} ring @param {number} x @param {number} y */
function holds(ring, x, y) {
  let inside = false;
  ring.forEach(([xi, yi], i) => {
    const [xj, yj] = ring[(i + ring.length - 1) % ring.length];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  });
  return inside;
}

/**
 * The actions of correcting.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {import("./nuclei_layer.js").NucleiLayer} wiring.nuclei the layer of nuclei
 * @param {import("./marks_layer.js").MarksLayer} wiring.marks the marks over it
 * @param {import("./corrections.js").CorrectionSource} wiring.corrections what was corrected
 * @param {(text: string, bad?: boolean) => void} wiring.tell shows a notice
 * @param {(place: {x: number, y: number}) => void} wiring.goTo brings a place into the view
 */
export function createCorrecting({ store, api, camera, nuclei, marks, corrections, tell, goTo }) {
  /** @type {Set<number>} */
  const caught = new Set();
  const pen = createPen({ store, camera, onMove: brush, onEnd: drawn });
  const resolution = () => camera.map.getView().getResolution() ?? 1;

  /** The nuclei that a correction is for; says so where there are none. @param {number} [least] how many it takes */
  function targets(least = 1) {
    const { chosen, selected } = store.get();
    const ids = chosen.length ? chosen : selected === null ? [] : [selected];
    if (ids.length < least) {
      const many = least > 1 ? "Choose two nuclei or more first: Shift+click adds one." : "Choose a nucleus first.";
      tell(many, true);
      return null;
    }
    return ids;
  }

  /** Nuclei as they are on the screen; says so where none are. */
  function onScreen() {
    const now = nuclei.drawn();
    if (store.get().visible && now.plan && now.plan.kind !== "densities") return now;
    tell("Zoom in until single nuclei are drawn.", true);
    return null;
  }

  /** @param {Point[]} places the last two of the brush */
  function brush([from, to]) {
    const now = onScreen();
    if (!now) return;
    const state = store.get();
    nucleiUnder(now, from, to, state.brush * resolution()).forEach((id) => caught.add(id));
    marks.setCaught(caught, classColour(state, state.paintClass));
  }

  /** Give nuclei a class. @param {number[]} nuclei ids @param {string|null} name null: as predicted */
  const classify = (nuclei, name) => corrections.send({ do: "classify", nuclei, class: name });

  async function endBrush() {
    const { classes, paintClass } = store.get();
    const ids = [...caught];
    if (ids.length) await classify(ids, classes[paintClass].name);
    ids.forEach((id) => caught.delete(id));
    marks.setCaught(caught, "#ffffff");
  }

  /** What was drawn. @param {Point[]} points slide pixels @param {boolean} isClicked */
  async function drawn(points, isClicked) {
    const state = store.get();
    const { tool, classes, paintClass } = state;
    if (tool === "paint") return endBrush();
    if (tool === "lasso") return chooseInside(points);
    if (tool === "add")
      return corrections.send({ do: "add", ring: points, clicked: isClicked, class: classes[paintClass].name });
    if (tool === "field") {
      await corrections.send({ do: "field", ring: points, complete: false });
      return store.set({ tool: "move" });
    }
    const middle = tool === "split" ? midpoint(points) : centre(points);
    const id = state.chosen.length === 1 ? state.chosen[0] : nucleusAt(nuclei.drawn(), ...middle, 20 * resolution());
    if (id === null) return tell("Draw over a nucleus, or choose one first.", true);
    const wish = tool === "split" ? { line: points } : { ring: points, clicked: isClicked };
    const done = await corrections.send({ do: tool, nuclei: [id], ...wish });
    if (done) store.set({ tool: "move" });
  }

  /** @param {Point[]} ring what the lasso surrounds */
  function chooseInside(ring) {
    const now = onScreen();
    if (!now) return;
    const ids = nucleiInside(now, ring);
    store.set({ chosen: ids, selected: ids.length === 1 ? ids[0] : null });
    if (!ids.length) tell("No nucleus inside.");
  }

  corrections.onDone(({ made }, { do: what }) => {
    if (["delete", "split", "join", "add"].includes(what)) {
      store.set({ chosen: made, selected: made.length === 1 ? made[0] : null });
    }
  });
  store.watch(["selected"], ({ selected, chosen }) => {
    if (selected !== null && !chosen.includes(selected)) store.set({ chosen: [selected] });
  });

  /** @param {string|null} name of the class; null: as predicted */
  async function give(name) {
    const state = store.get();
    const index = state.classes.findIndex((one) => one.name === name);
    if (index >= 0) store.set({ paintClass: index });
    if (state.tool === "paint" || state.tool === "add") return;
    const ids = targets();
    if (ids) await classify(ids, name);
  }

  return {
    pen,
    give,

    /** Give the class of a digit; 0 gives back the predicted one. @param {number} digit 0 to 9 */
    async giveDigit(digit) {
      const entry = store.get().corrections?.classes.find((one) => one.digit === digit);
      if (digit === 0) await give(null);
      else if (entry) await give(entry.name);
    },

    async remove() {
      const ids = targets();
      if (ids) await corrections.send({ do: "delete", nuclei: ids });
    },

    async join() {
      const ids = targets(2);
      if (ids) await corrections.send({ do: "join", nuclei: ids });
    },

    undo: () => corrections.send({ do: "undo" }),
    redo: () => corrections.send({ do: "redo" }),

    /** Take a tool, or put it down. @param {string} tool its name */
    use: (tool) => store.set({ tool: store.get().tool === tool ? "move" : tool }),

    /** Choose a nucleus. @param {number|null} id which @param {boolean} more whether those chosen stay */
    choose(id, more) {
      const { chosen } = store.get();
      if (!more) return store.set({ selected: id, chosen: id === null ? [] : [id] });
      if (id === null) return;
      const now = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id];
      store.set({ chosen: now, selected: now[now.length - 1] ?? null });
    },

    /** A comment on the chosen nucleus, or on the middle of the view. */
    comment() {
      const ids = store.get().chosen;
      const { x, y } = camera.view();
      const about = ids.length ? { nuclei: [ids[ids.length - 1]] } : { place: [x, y] };
      openCommentDialog(ids.length ? `Comment on nucleus ${ids[ids.length - 1]}` : "Comment on this place", (text) =>
        corrections.send({ do: "comment", text, ...about }),
      );
    },

    defineClass: () =>
      openClassDialog(store.get(), async (wish) => {
        const done = await corrections.send({ do: "define_class", ...wish });
        if (done)
          store.set({
            paintClass: Math.max(
              0,
              done.classes.findIndex(({ name }) => name === wish.name),
            ),
          });
      }),

    /** Mark a field complete, or not: the one named, else the one in the middle of the view. @param {string} [key] its name */
    async toggleField(key) {
      const { x, y } = camera.view();
      const fields = store.get().corrections?.fields ?? [];
      const field = fields.find((one) => (key ? one.key === key : holds(one.ring, x, y)));
      if (!field) return tell("There is no field in the middle of the view.", true);
      await corrections.send({ do: "field", field: field.key, complete: !field.complete });
    },

    /** Go to what to look at next. */
    async next() {
      const reply = await corrections.inTurn(async (path) => {
        const found = await api.json(`${path}/next`, {});
        corrections.takeNext(found);
        return found;
      });
      if (!reply) return;
      const { proposal } = reply;
      if (!proposal) return tell("All nuclei were looked at.");
      goTo(proposal);
      store.set({ selected: proposal.id, chosen: [proposal.id], tool: "move" });
      tell(WHY[/** @type {keyof typeof WHY} */ (proposal.why)]);
    },
  };
}

/** @typedef {ReturnType<typeof createCorrecting>} Correcting */

/** @param {Point[]} ring @returns {Point} the mean of its corners */
function centre(ring) {
  const [x, y] = ring.reduce(([u, v], point) => [u + point[0], v + point[1]], [0, 0]);
  return [x / ring.length, y / ring.length];
}

/** @param {Point[]} line @returns {Point} half-way between its ends */
const midpoint = (line) => centre([line[0], line[line.length - 1]]);
