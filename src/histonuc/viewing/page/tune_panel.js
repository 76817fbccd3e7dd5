/**
 * Fine-tuning of the network on complete fields: begun here, followed, and compared with before.
 * @module
 */

import { el } from "./dom.js";

/**
 * @typedef {object} Score
 * @property {string} name of the score
 * @property {number} before by the model that was started from
 * @property {number} after by the tuned model
 * @property {[number, number]|null} interval_before its 95 % interval
 * @property {[number, number]|null} interval_after its 95 % interval
 * @property {[number, number]|null} interval 95 % interval of the difference
 */

/**
 * @typedef {object} Tuning
 * @property {"off"|"preparing"|"training"|"comparing"|"done"|"stopped"|"failed"} phase what is going on
 * @property {string} message why it failed
 * @property {number} step of the training that was done last
 * @property {number} num_steps of the whole training
 * @property {number|null} share of the training that is done
 * @property {number|null} minutes_left until the training ends
 * @property {number} num_held_out fields that had no part in the training
 * @property {Score[]} scores before and after on those
 * @property {string} replay name of a store that may be learned from as well; empty for none
 * @property {string[]} commands what to type to use the tuned model
 * @property {boolean} can_start whether it can be begun now
 * @property {string} why_not why it cannot
 */

const POLL_MS = 1000;
const FIELDS = ["field", "undo", "redo"];
const WORKING = ["preparing", "training", "comparing"];

/** @param {number} value @param {[number, number]|null} interval with its ends, where there are some */
const withEnds = (value, interval) =>
  value.toFixed(3) + (interval ? ` (${interval.map((end) => end.toFixed(3)).join(" to ")})` : "");

/** @param {Score} score difference, and its interval where there is one */
function difference({ before, after, interval }) {
  /** @param {number} value */
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
  return signed(after - before) + (interval ? ` (${interval.map(signed).join(" to ")})` : "");
}

/** What is going on, in a sentence. @param {Tuning} tuning how far it is */
function tellProgress({ phase, step, num_steps, minutes_left }) {
  if (phase === "preparing") return "Collecting the complete fields …";
  if (phase === "comparing") return "Comparing before and after on the held-out fields …";
  if (minutes_left === null) return "Starting the training …";
  const left = minutes_left < 1 ? "less than a minute" : `about ${Math.round(minutes_left)} min`;
  return `Step ${step} of at most ${num_steps}, ${left} left.`;
}

/** What came of it. @param {Tuning} tuning one that is done */
function showScores({ num_held_out, scores, commands }) {
  const head = ["", "before", "after", "difference"].map((text) => el("th", { text }));
  const rows = scores.map((score) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", text: score.name }),
      el("td", { text: withEnds(score.before, score.interval_before) }),
      el("td", { text: withEnds(score.after, score.interval_after) }),
      el("td", { text: difference(score) }),
    ),
  );
  const fields = num_held_out === 1 ? "1 held-out field" : `${num_held_out} held-out fields`;
  const certainty = scores.some((score) => score.interval)
    ? "95 % intervals in brackets."
    : "too few for intervals, so nothing can be said for sure.";
  return [
    el("p", { text: `On ${fields}: ${certainty}` }),
    el("table", { id: "tune-scores" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
    el("p", { class: "muted", text: "Nothing was replaced. This uses the tuned model:" }),
    ...commands.map((text) => el("code", { class: "command", text })),
  ];
}

/**
 * The block.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./corrections.js").CorrectionSource} wiring.corrections what was corrected
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createTunePanel({ store, api, corrections, report }) {
  let following = false;
  const minutes = el("input", { type: "number", id: "tune-minutes", min: 1, max: 600, value: 10 });
  const replay = el("input", { type: "checkbox", id: "tune-replay", checked: true });
  const replayed = el("span");
  const offer = el("label", { hidden: true }, replay, replayed);
  const start = el("button", { type: "button", text: "Fine-tune", disabled: true, onclick: () => void ask("start") });
  const stop = el("button", { type: "button", text: "Stop", onclick: () => void ask("stop") });
  const progress = el("progress", { "aria-label": "Fine-tuning" });
  const whyNot = el("p", { id: "tune-why-not", class: "muted" });
  const state = el("div", { id: "tuning", "aria-live": "polite" });

  /** @param {Tuning} now how far it is */
  function show(now) {
    const working = WORKING.includes(now.phase);
    start.disabled = !now.can_start;
    offer.hidden = now.replay === "";
    replayed.textContent = ` Also learn from ${now.replay}, against forgetting`;
    stop.hidden = progress.hidden = !working;
    if (now.share === null) progress.removeAttribute("value");
    else progress.value = now.share;
    whyNot.textContent = working ? "" : now.why_not;
    if (working) state.replaceChildren(el("p", { text: tellProgress(now) }));
    else if (now.phase === "done") state.replaceChildren(...showScores(now));
    else if (now.phase === "failed") state.replaceChildren(el("p", { class: "warning", text: now.message }));
    else state.replaceChildren(now.phase === "stopped" ? el("p", { text: "Stopped. Nothing was kept." }) : "");
    state.dataset.phase = now.phase;
    if (working) void follow();
  }

  /** Ask until it is over, or another slide is shown. */
  async function follow() {
    if (following) return;
    following = true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    following = false;
    await refresh();
  }

  /** Show what the server says now. */
  async function refresh() {
    const { slide } = store.get();
    if (!slide?.has_nuclei) return;
    try {
      /** @type {Tuning} */
      const now = await api.json(`slides/${slide.number}/tune`);
      if (store.get().slide === slide) show(now);
    } catch (error) {
      report(/** @type {Error} */ (error));
    }
  }

  /** @param {"start"|"stop"} what is wanted */
  async function ask(what) {
    const { slide } = store.get();
    if (!slide) return;
    try {
      const also = !offer.hidden && replay.checked;
      const wish = { do: what, minutes: minutes.valueAsNumber || 10, replay: also };
      const now = await api.json(`slides/${slide.number}/tune`, wish);
      if (store.get().slide === slide) show(now);
    } catch (error) {
      report(/** @type {Error} */ (error));
    }
  }

  corrections.onDone((_, wish) => {
    if (FIELDS.includes(wish.do)) void refresh();
  });
  store.watch(["slide"], () => void refresh());

  return el(
    "section",
    { "aria-label": "Fine-tune" },
    el("h3", { text: "Fine-tune the network" }),
    el("p", {
      class: "muted",
      text: "Outlines and classes, in minutes: the network learns from fields that are complete. Some are held out, to compare before and after.",
    }),
    el("div", { class: "row" }, el("label", { for: "tune-minutes", text: "Minutes" }), minutes),
    offer,
    el("div", { class: "buttons" }, start, stop),
    whyNot,
    progress,
    state,
  );
}
