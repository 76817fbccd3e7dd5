/**
 * Corrections: what the server knows of them, and how one more is made. One after the other, so that none overtakes another.
 * @module
 */

/** @typedef {import("./types.js").Corrections} Corrections */
/** @typedef {import("./types.js").Corrected} Corrected */

/**
 * The corrections of the slide that is shown.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./api.js").Api} wiring.api requests
 * @param {import("./nuclei_layer.js").NucleiLayer} wiring.nuclei the layer of nuclei
 * @param {(text: string, bad?: boolean) => void} wiring.tell shows a notice
 * @param {(error: Error) => void} wiring.report shows an error
 */
export function createCorrections({ store, api, nuclei, tell, report }) {
  /** @type {Promise<unknown>} */
  let queue = Promise.resolve();
  /** @type {((done: Corrected, wish: Record<string, any>) => void)[]} */
  const listeners = [];

  /**
   * Show what the server says now.
   * @param {Corrections} now its answer
   * @param {import("./types.js").Box[]|null} boxes where nuclei changed; null for anywhere
   */
  function take(now, boxes) {
    const state = store.get();
    /** @param {import("./types.js").NucleusClass[]} classes */
    const looks = (classes) =>
      JSON.stringify(classes.map(({ name, colour, safe_colour }) => [name, colour, safe_colour]));
    const changed = state.corrections !== null && now.version !== state.corrections.version && boxes?.length !== 0;
    if (changed) nuclei.renew(boxes);
    store.set({
      corrections: now,
      classes: looks(now.classes) === looks(state.classes) ? state.classes : now.classes,
      version: changed ? now.version : state.version,
      paintClass: state.paintClass < now.classes.length ? state.paintClass : 0,
    });
  }

  /** Show what the server says after one thing was done. @param {Corrected} done its answer */
  function takeNext(done) {
    const before = store.get().corrections?.version ?? 0;
    take(done, done.version <= before + 1 ? done.changed_boxes : null);
  }

  /** Ask what was corrected, also by other programs; after what is on its way. */
  function refresh() {
    const { slide } = store.get();
    if (!slide?.has_nuclei) return Promise.resolve();
    const turn = queue.then(async () => {
      try {
        /** @type {Corrections} */
        const now = await api.json(`slides/${slide.number}/corrections`);
        if (store.get().slide === slide) take(now, null);
      } catch (error) {
        report(/** @type {Error} */ (error));
      }
    });
    queue = turn;
    return turn;
  }

  /**
   * Run a request after those before it.
   * @template T
   * @param {(path: string) => Promise<T>} ask the request
   * @returns {Promise<T|null>} its answer; null where it failed, which the person is told
   */
  function inTurn(ask) {
    const { slide, corrections } = store.get();
    if (!slide || !corrections) return Promise.resolve(null);
    if (!corrections.can_write) {
      tell(corrections.why_not, true);
      return Promise.resolve(null);
    }
    const turn = queue.then(async () => {
      try {
        return store.get().slide === slide ? await ask(`slides/${slide.number}`) : null;
      } catch (error) {
        report(/** @type {Error} */ (error));
        return null;
      }
    });
    queue = turn;
    return turn;
  }

  /**
   * Correct something; what is shown follows.
   * @param {Record<string, any>} wish what, as the server wants it
   * @returns {Promise<Corrected|null>} the answer; null where it could not be done, which the person is told
   */
  const send = (wish) =>
    inTurn(async (path) => {
      /** @type {Corrected} */
      const done = await api.json(`${path}/corrections`, wish);
      takeNext(done);
      listeners.forEach((listener) => listener(done, wish));
      return done;
    });

  store.watch(["slide"], () => {
    store.set({ corrections: null, version: 0, chosen: [] });
    void refresh();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") void refresh();
  });

  return {
    send,
    refresh,
    inTurn,
    takeNext,
    /** @param {(done: Corrected, wish: Record<string, any>) => void} listener called after each correction */
    onDone: (listener) => void listeners.push(listener),
  };
}

/** @typedef {ReturnType<typeof createCorrections>} CorrectionSource */
