/**
 * Teaching: a classifier of what was labelled, shown on the whole slide, and again after each ten labels.
 * @module
 */

import { el } from "./dom.js";
import { formatCount } from "./scale.js";
import { createTunePanel } from "./tune_panel.js";

/**
 * @typedef {object} Lesson
 * @property {"off"|"opening"|"teaching"|"shown"|"failed"} phase what is going on
 * @property {string} message why it failed
 * @property {number} num_labels nuclei that taught
 * @property {Record<string, number>} by_class of each class how many of them
 * @property {string[]} filled_up classes taught by nuclei that the model is sure of as well
 * @property {string[]} few classes of too few labels to judge
 * @property {boolean} has_embeddings whether the classifier sees what the network saw
 * @property {number} num_scored held-out nuclei whose class is known
 * @property {number} num_right of those, right now
 * @property {number} num_right_before of those, right by the model
 * @property {[number, number]|null} interval 95 % interval of the share that is right
 * @property {number} seconds it took
 * @property {{keep: string[], network: string[]}} commands what to type to keep it, and to fine-tune the network
 */

const EACH = 10;
const POLL_MS = 300;
const LABELS = ["classify", "add"];

/** @param {number} share of one */
const percent = (share) => `${Math.round(100 * share)} %`;

/** Whether its end is awaited. @param {Lesson} lesson how far it is */
const isWorking = ({ phase }) => phase === "opening" || phase === "teaching";

/** What was taught and how good it is, in sentences. @param {Lesson} lesson how far it is */
function describe(lesson) {
  const { num_labels, by_class, filled_up, few, has_embeddings, num_scored, num_right, num_right_before, interval } =
    lesson;
  const counts = Object.entries(by_class).map(([name, num]) => `${name} ${formatCount(num)}`);
  const lines = [
    `Taught with ${formatCount(num_labels)} labelled ${num_labels === 1 ? "nucleus" : "nuclei"} (${counts.join(", ")}) in ${lesson.seconds.toFixed(1)} s.`,
  ];
  if (few.length) lines.push(`Too few labels to judge, fewer than 10: ${few.join(", ")}.`);
  if (filled_up.length)
    lines.push(
      `Until 50 of a class are labelled, nuclei that the model is sure of make up the number: ${filled_up.join(", ")}.`,
    );
  if (!has_embeddings)
    lines.push(
      "This result has no embeddings, so shape and stain alone decide. `histonuc predict --embeddings` makes it better.",
    );
  lines.push(
    interval
      ? `Right on ${num_right} of ${num_scored} held-out nuclei (95 % between ${percent(interval[0])} and ${percent(interval[1])}); the model on ${num_right_before}.`
      : "Nothing held out has a label yet: label what Next draws at random, and you see how good this is.",
  );
  return lines;
}

/**
 * The block.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./corrections.js").CorrectionSource} wiring.corrections what was corrected
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createTeachPanel({ store, api, corrections, report }) {
  let since = 0; // labels given since the last lesson
  /** @type {Lesson|null} */
  let lesson = null;
  /** @type {import("./types.js").Slide|null} the slide whose lesson is waited for */
  let following = null;
  const teach = el("button", { type: "button", text: "Teach", onclick: () => void ask("teach") });
  const hide = el("button", { type: "button", text: "The model's classes", onclick: () => void ask("hide") });
  const progress = el("progress", { "aria-label": "Teaching" });
  const state = el("div", { id: "lesson", "aria-live": "polite" });
  const more = el("details");

  /** @param {Lesson} now how far it is */
  function show(now) {
    lesson = now;
    const working = isWorking(now);
    progress.hidden = !working;
    teach.disabled = working;
    hide.hidden = now.phase !== "shown" && !working;
    teach.textContent = now.phase === "shown" ? "Teach again" : "Teach";
    const lines = now.phase === "shown" ? describe(now) : working ? ["Reading the nuclei and teaching …"] : [];
    state.replaceChildren(
      ...lines.map((text) => el("p", { text })),
      ...(now.phase === "failed" ? [el("p", { class: "warning", text: now.message })] : []),
    );
    state.dataset.phase = now.phase;
  }

  /** What else can be done, in the terminal. @param {Lesson} now how far it is */
  function showCommands({ commands }) {
    /** @param {string[]} lines */
    const block = (lines) => lines.map((text) => el("code", { class: "command", text }));
    more.replaceChildren(
      el("summary", { text: "Commands for the terminal" }),
      el("p", {
        class: "muted",
        text: "A classifier to keep, for this and other slides: the same as is shown here. With --labels-only the model's nuclei do not teach it.",
      }),
      ...block(commands.keep),
      el("p", { class: "muted", text: "The network fine-tuned on fields that are complete:" }),
      ...block(commands.network),
    );
  }

  /**
   * Wait until what was asked for is done, then show the slide anew; end when another slide is looked at.
   * @param {import("./types.js").Slide} slide the slide
   */
  async function follow(slide) {
    if (following === slide) return;
    following = slide;
    try {
      while (lesson && isWorking(lesson)) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        const now = await api.json(`slides/${slide.number}/teach`);
        if (store.get().slide !== slide) return;
        show(now);
      }
    } finally {
      if (following === slide) following = null;
    }
    await corrections.refresh();
  }

  /** @param {"teach"|"hide"} what is wanted */
  async function ask(what) {
    const { slide } = store.get();
    if (!slide) return;
    since = 0;
    try {
      const now = await api.json(`slides/${slide.number}/teach`, { do: what });
      if (store.get().slide !== slide) return;
      show(now);
      await follow(slide);
    } catch (error) {
      report(/** @type {Error} */ (error));
    }
  }

  corrections.onDone((_, wish) => {
    if (!LABELS.includes(wish.do)) return;
    since += wish.nuclei?.length ?? 1;
    if (lesson?.phase === "shown" && since >= EACH) void ask("teach");
  });
  store.watch(["slide"], ({ slide }) => {
    lesson = null;
    since = 0;
    if (!slide?.has_nuclei) return;
    api.json(`slides/${slide.number}/teach`).then((now) => {
      if (store.get().slide !== slide) return;
      show(now);
      showCommands(now);
      if (isWorking(now)) void follow(slide).catch(report);
    }, report);
  });

  return el(
    "section",
    { class: "part", "aria-label": "Teach" },
    el("h2", { text: "Teach" }),
    el("p", {
      class: "muted",
      text: "A classifier learns your classes from the nuclei that you labelled, and colours the whole slide: again after each ten labels.",
    }),
    el("div", { class: "buttons" }, teach, hide),
    progress,
    state,
    createTunePanel({ store, api, corrections, report }),
    more,
  );
}
