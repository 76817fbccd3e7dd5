/**
 * All keys of the page. Digits without Shift are left for correcting.
 * @module
 */

import { soloClass } from "./classes_panel.js";
import { key } from "./keys.js";
import { togglePalette } from "./toolbar.js";

/**
 * The groups of keys, with what they do.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {import("./regions.js").Regions} wiring.regions drawn regions
 * @param {{step: (step: 1|-1) => void, nearest: () => void, help: () => void, snapshot: () => void, copy: () => void, gallery: () => void, panels: () => void}} wiring.actions what else can be done
 * @returns {import("./keys.js").KeyGroup[]}
 */
export function keyTable({ store, camera, regions, actions }) {
  const digits = Array.from({ length: 9 }, (_, i) => `Shift+Digit${i + 1}`);
  /** @param {number} degrees */
  const turn = (degrees) => camera.go({ rotation: camera.view().rotation + (degrees * Math.PI) / 180 }, true);
  /** @param {string} tool */
  const use = (tool) => () => store.set({ tool });
  return [
    {
      title: "Move",
      keys: [
        key("Arrows", "Move the view"),
        key("+ / −", "Zoom in and out"),
        key("Home", "Whole slide", ["Home"], camera.fit),
        key("[ / ]", "Rotate by 15°", ["[", "]"], (event) => turn(event.key === "[" ? -15 : 15)),
        key("Alt+Shift+drag", "Rotate freely"),
      ],
    },
    {
      title: "Nuclei",
      keys: [
        key("H", "Nuclei off and on", ["H"], () => store.set({ visible: !store.get().visible })),
        key("F", "Filled or outlines", ["F"], () =>
          store.set({ fill: store.get().fill === "filled" ? "outlines" : "filled", visible: true }),
        ),
        key("Shift+1 / … / 9", "One class alone; again: all", digits, ({ code }) =>
          soloClass(store, Number(code.slice(5)) - 1),
        ),
        key("C", "Colours that colour-blind people can tell apart", ["C"], () => togglePalette(store)),
        key("Click / Enter", "Choose a nucleus", ["Enter"], () =>
          store.get().tool === "move" ? actions.nearest() : regions.finish(),
        ),
        key("N", "Next nucleus of the list", ["N"], () => actions.step(1)),
        key("Shift+N", "The one before", ["Shift+N"], () => actions.step(-1)),
        key("Esc", "Let go of the nucleus or the tool", ["Escape"], () => store.set({ selected: null, tool: "move" })),
      ],
    },
    {
      title: "Regions",
      keys: [
        key("M", "Move, draw nothing", ["M"], use("move")),
        key("R", "Rectangle: two clicks", ["R"], use("rectangle")),
        key("P", "Polygon: click the corners, Enter closes it", ["P"], use("polygon")),
        key("L", "Freehand: drag", ["L"], use("freehand")),
        key("Backspace", "Take back a corner", ["Backspace"], regions.undoCorner),
        key("Alt+click", "Remove a corner of a drawn region"),
      ],
    },
    {
      title: "Page",
      keys: [
        key("S", "Snapshot", ["S"], actions.snapshot),
        key("Y", "Copy place", ["Y"], actions.copy),
        key("G", "Gallery of slides", ["G"], actions.gallery),
        key("T", "Panels off and on", ["T"], actions.panels),
        key("?", "All keys", ["?"], actions.help),
      ],
    },
  ];
}
