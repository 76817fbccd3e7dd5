/**
 * The dialog of snapshots.
 * @module
 */

import { openDialog } from "./dialogs.js";
import { download, el } from "./dom.js";
import { pngOf } from "./snapshot_png.js";
import { gatherScene } from "./snapshot_scene.js";
import { svgOf } from "./snapshot_svg.js";

/**
 * Ask for format and size, then give the file.
 * @param {import("./snapshot_scene.js").Wiring} wiring what it works with
 * @param {(error: Error) => void} report shows an error
 */
export function openSnapshot(wiring, report) {
  const width = el("input", { type: "number", id: "snapshot-width", min: 400, max: 8000, step: 100, value: 2400 });
  const format = el(
    "select",
    { id: "snapshot-format" },
    el("option", { value: "png", text: "PNG, for slides and reports" }),
    el("option", { value: "svg", text: "SVG, outlines stay editable" }),
  );
  const save = el("button", { type: "submit", text: "Save" });
  const form = el(
    "form",
    { class: "form", onsubmit: make },
    el("label", { for: "snapshot-format", text: "Format" }),
    format,
    el("label", { for: "snapshot-width", text: "Width in pixels" }),
    width,
    el("span", { class: "muted", text: "With scale bar, legend and provenance." }),
    save,
  );
  const dialog = openDialog("Snapshot of the view", form);

  /** @param {SubmitEvent} event */
  async function make(event) {
    event.preventDefault();
    save.disabled = true;
    save.textContent = "Drawing …";
    try {
      const scene = await gatherScene(wiring, Number(width.value));
      const blob = await (format.value === "png" ? pngOf(scene) : svgOf(scene));
      const name = (wiring.store.get().slide?.name ?? "slide").replace(/\.[^.]+$/, "");
      download(blob, `${name}-snapshot.${format.value}`);
    } catch (error) {
      report(/** @type {Error} */ (error));
    } finally {
      dialog.close();
    }
  }
}
