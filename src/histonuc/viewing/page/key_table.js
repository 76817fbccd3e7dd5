/**
 * All keys of the page. Digits give classes; with Shift they show one class alone.
 * @module
 */

import { soloClass } from "./classes_panel.js";
import { key } from "./keys.js";
import { PEN_TOOLS } from "./pen.js";
import { togglePalette } from "./toolbar.js";

/**
 * The groups of keys, with what they do.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {import("./regions.js").Regions} wiring.regions drawn regions
 * @param {import("./correcting.js").Correcting} wiring.correcting what can be corrected
 * @param {{step: (step: 1|-1) => void, nearest: (more: boolean) => void, help: () => void, snapshot: () => void, copy: () => void, gallery: () => void, panels: () => void}} wiring.actions what else can be done
 * @returns {import("./keys.js").KeyGroup[]}
 */
export function keyTable({ store, camera, regions, correcting, actions }) {
  const plain = Array.from({ length: 9 }, (_, i) => `Digit${i + 1}`);
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
        key("Click / Enter", "Choose a nucleus; end what is drawn", ["Enter"], () => {
          const { tool } = store.get();
          if (tool === "move") actions.nearest(false);
          else if (tool in PEN_TOOLS) correcting.pen.finish();
          else regions.finish();
        }),
        key("Shift+click / Shift+Enter", "Choose one more", ["Shift+Enter"], () => actions.nearest(true)),
        key("N", "Next nucleus of the list", ["N"], () => actions.step(1)),
        key("Shift+N", "The one before", ["Shift+N"], () => actions.step(-1)),
        key("Esc", "Let go of the nucleus or the tool", ["Escape"], () =>
          store.set({ selected: null, chosen: [], tool: "move" }),
        ),
      ],
    },
    {
      title: "Regions",
      keys: [
        key("M", "Move, draw nothing", ["M"], use("move")),
        key("R", "Rectangle: two clicks", ["R"], use("rectangle")),
        key("P", "Polygon: click the corners, Enter closes it", ["P"], use("polygon")),
        key("L", "Freehand: drag", ["L"], use("freehand")),
        key("Backspace", "Take back a corner", ["Backspace"], () =>
          store.get().tool in PEN_TOOLS ? correcting.pen.undoCorner() : regions.undoCorner(),
        ),
        key("Alt+click", "Remove a corner of a drawn region"),
      ],
    },
    {
      title: "Correct",
      keys: [
        key(
          "1 / … / 9",
          "Give the chosen nuclei, or the brush, this class",
          plain,
          ({ code }) => void correcting.giveDigit(Number(code.slice(5))),
        ),
        key("0", "As predicted", ["Digit0"], () => void correcting.giveDigit(0)),
        key("Delete", "No nucleus", ["Delete"], () => void correcting.remove()),
        key("B", "Brush: paint the class over nuclei", ["B"], () => correcting.use("paint")),
        key("O", "Lasso: choose nuclei", ["O"], () => correcting.use("lasso")),
        key("A", "Add a nucleus", ["A"], () => correcting.use("add")),
        key("E", "Draw an outline anew", ["E"], () => correcting.use("redraw")),
        key("K", "Split by a line", ["K"], () => correcting.use("split")),
        key("J", "Join the chosen nuclei", ["J"], () => void correcting.join()),
        key("Space", "A corner, or a dab, in the middle of the view", [" "], () => correcting.pen.pressMiddle()),
        key("D", "New class", ["D"], correcting.defineClass),
        key("V", "Comment", ["V"], correcting.comment),
        key("Q", "New field of truth", ["Q"], () => correcting.use("field")),
        key("W", "Field in the middle: complete or not", ["W"], () => void correcting.toggleField()),
        key("X", "What to look at next", ["X"], () => void correcting.next()),
        key("Ctrl+Z", "Undo", ["Ctrl+Z"], () => void correcting.undo()),
        key("Ctrl+Shift+Z", "Redo", ["Ctrl+Shift+Z", "Ctrl+Y"], () => void correcting.redo()),
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
