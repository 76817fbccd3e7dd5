/**
 * The state of the view in one place. Modules read it, change it through `set`, and are told of changes.
 * @module
 */

/** @typedef {import("./types.js").Slide} Slide */
/** @typedef {import("./types.js").Range} Range */
/** @typedef {import("./types.js").NucleusClass} NucleusClass */
/** @typedef {import("./types.js").Corrections} Corrections */

/**
 * @typedef {object} State
 * @property {Slide|null} slide the slide that is shown
 * @property {NucleusClass[]} classes classes of the slide, those that people made behind the others
 * @property {boolean[]} shown whether each class is drawn
 * @property {number|null} solo the class that is drawn alone, if any
 * @property {"outlines"|"filled"} fill how nuclei are drawn
 * @property {boolean} visible whether nuclei are drawn at all
 * @property {number} opacity of the nuclei, 0 to 1
 * @property {string} colourBy "class" or the name of a column
 * @property {Record<string, Range>} ranges filters: only nuclei inside all of them are drawn and counted
 * @property {"standard"|"safe"} palette colours of the classes
 * @property {number|null} selected id of the nucleus that is shown
 * @property {number[]} chosen ids of the nuclei that a correction is for
 * @property {string} tool "move", or what draws: of `regions.js` or of `pen.js`
 * @property {number} paintClass number of the class that the brush gives, and that new nuclei have
 * @property {number} brush radius of the brush in CSS pixels
 * @property {Corrections|null} corrections what was corrected; null before it is known
 * @property {number} version rises with whatever changes nuclei on the server
 * @property {boolean} areas whether skipped, flagged and inked areas are drawn
 * @property {boolean} tissue whether the border of the tissue is drawn
 */

/** @type {State} */
const initial = {
  slide: null,
  classes: [],
  shown: [],
  solo: null,
  fill: "outlines",
  visible: true,
  opacity: 0.9,
  colourBy: "class",
  ranges: {},
  palette: "standard",
  selected: null,
  chosen: [],
  tool: "move",
  paintClass: 0,
  brush: 16,
  corrections: null,
  version: 0,
  areas: true,
  tissue: false,
};

/** The store of the page's state. */
export function createStore() {
  let state = { ...initial };
  /** @type {{keys: (keyof State)[], listener: (state: State) => void}[]} */
  const listeners = [];

  return {
    /** The state now; never change it, `set` a new value. */
    get: () => state,

    /**
     * Change some values and tell those who watch one of them.
     * @param {Partial<State>} patch the new values
     */
    set(patch) {
      const before = state;
      state = { ...state, ...patch };
      const changed = /** @type {(keyof State)[]} */ (Object.keys(patch)).filter((key) => before[key] !== state[key]);
      for (const { keys, listener } of listeners) {
        if (keys.some((key) => changed.includes(key))) listener(state);
      }
    },

    /**
     * Call a function now and whenever one of these values changes.
     * @param {(keyof State)[]} keys what is watched
     * @param {(state: State) => void} listener what is called
     */
    watch(keys, listener) {
      listeners.push({ keys, listener });
      listener(state);
    },
  };
}

/** @typedef {ReturnType<typeof createStore>} Store */

/**
 * Whether nuclei of a class are drawn.
 * @param {State} state the state
 * @param {number} index number of the class
 */
export const classShown = (state, index) => (state.solo === null ? state.shown[index] !== false : state.solo === index);

/**
 * The numeric filters as the server wants them. Classes are left out where the page adds them up itself.
 * @param {State} state the state
 * @param {{classes: boolean}} options whether hidden classes are left out
 * @returns {import("./types.js").Filters}
 */
export function filtersOf(state, { classes }) {
  /** @type {import("./types.js").Filters} */
  const filters = { ranges: state.ranges };
  if (classes && state.slide) {
    filters.classes = state.classes.flatMap((_, i) => (classShown(state, i) ? [i] : []));
  }
  return filters;
}
