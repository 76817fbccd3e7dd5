/**
 * The line over the slide: where the pointer is, the magnification, and what is drawn.
 * @module
 */

import { byId } from "./dom.js";
import { formatCount } from "./scale.js";

/**
 * Keep the line up to date.
 * @param {object} wiring
 * @param {import("./state.js").Store} wiring.store the state
 * @param {import("./map.js").SlideMap} wiring.camera the view
 * @param {import("./nuclei_layer.js").NucleiLayer} wiring.nuclei the layer of nuclei
 */
export function createStatus({ store, camera, nuclei }) {
  const coordinates = byId("coordinates");
  const drawn = byId("drawn");

  /** @param {number[]} coordinate of the map */
  function showPlace([x, y]) {
    const { slide } = store.get();
    if (!slide) return;
    const [u, v] = [Math.floor(x), Math.floor(-y)];
    const scale = slide.mpp_xy;
    const um = scale ? `${formatCount(Math.round(x * scale[0]))}, ${formatCount(Math.round(-y * scale[1]))} µm · ` : "";
    coordinates.textContent = `${um}${formatCount(u)}, ${formatCount(v)} px`;
  }

  function showDetail() {
    const { slide, visible } = store.get();
    if (!slide) return;
    const mag = Number(camera.view().mag.toPrecision(3));
    const kind = !slide.has_nuclei ? "" : visible ? nuclei.canvas.dataset.detail : "nuclei off";
    const text = `${mag}×${kind ? ` · ${kind}` : ""}`;
    if (drawn.textContent !== text) drawn.textContent = text;
  }

  const target = byId("map");
  camera.map.on("loadstart", () => target.setAttribute("aria-busy", "true"));
  camera.map.on("loadend", () => target.setAttribute("aria-busy", "false"));
  camera.map.on("pointermove", ({ coordinate }) => showPlace(coordinate));
  camera.map.on("moveend", () => showPlace(camera.map.getView().getCenter() ?? [0, 0]));
  camera.map.on("moveend", showDetail);
  camera.map.on("rendercomplete", showDetail);
  store.watch(["visible", "slide"], showDetail);
  store.watch(["slide"], ({ slide }) => {
    if (!slide?.picture_levels) target.setAttribute("aria-busy", "false");
  });
}
