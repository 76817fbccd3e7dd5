/**
 * The page: makes its parts, ties them together, and opens the slide that the address names.
 * @module
 */

import { readPlace, takeToken, writePlace } from "./address.js";
import { createApi } from "./api.js";
import { createAppearancePanel } from "./appearance_panel.js";
import { createAreasLayer } from "./areas_layer.js";
import { createClassesPanel } from "./classes_panel.js";
import { createCorrecting } from "./correcting.js";
import { createCorrections } from "./corrections.js";
import { createCorrectPanel } from "./correct_panel.js";
import { createDensities } from "./densities.js";
import { byId } from "./dom.js";
import { createFieldsLayer } from "./fields_layer.js";
import { createFiltersPanel } from "./filters_panel.js";
import { openGallery } from "./gallery.js";
import { keyTable } from "./key_table.js";
import { listen, openHelp } from "./keys.js";
import { createListPanel } from "./list_panel.js";
import { createMap } from "./map.js";
import { createMarksLayer } from "./marks_layer.js";
import { report, showHint, tell } from "./notices.js";
import { createNucleiLayer } from "./nuclei_layer.js";
import { createNucleusPanel } from "./nucleus_panel.js";
import { nucleusAt } from "./picking.js";
import { createRegions } from "./regions.js";
import { createRegionsPanel } from "./regions_panel.js";
import { createSelectionLayer } from "./selection_layer.js";
import { createSlidePanel } from "./slide_panel.js";
import { openSnapshot } from "./snapshot.js";
import { createStatus } from "./status.js";
import { createStore } from "./state.js";
import { createTabs } from "./tabs.js";
import { createTeachPanel } from "./teach_panel.js";
import { copyPlace, createToolbar } from "./toolbar.js";

const PING_MS = 60_000;

const store = createStore();
const started = takeToken();
const api = createApi(started);
const target = byId("map");
const camera = createMap({ target, overview: byId("overview"), scaleBar: byId("scale-bar"), api, store });
const densities = createDensities({ api, store, report });
const nuclei = createNucleiLayer({ api, store, densities, report });
const slidePanel = createSlidePanel({
  store,
  goTo: ({ polygons }) => camera.go({ x: polygons[0][0][0][0], y: polygons[0][0][0][1], mag: 5 }, true),
});
const areas = createAreasLayer({ store, api, report, onAreas: slidePanel.setAreas });
const selection = createSelectionLayer();
const marks = createMarksLayer({ store, nuclei });
const fields = createFieldsLayer({ store });
for (const layer of [nuclei.layer, areas, selection.layer, fields, marks.layer]) camera.map.addLayer(layer);
const regions = createRegions({ store, api, camera, report });

/** @type {import("./types.js").SlideEntry[]} */
let slides = [];

/** Bring a place into the view, near enough to see outlines. @param {{x: number, y: number}} place */
function goTo({ x, y }) {
  camera.go({ x, y, mag: Math.max(camera.view().mag, 20) });
}

const corrections = createCorrections({ store, api, nuclei, tell, report });
const correcting = createCorrecting({ store, api, camera, nuclei, marks, corrections, tell, goTo });
const wiring = { store, api, densities, camera, regions, nuclei, corrections, correcting, tell, report, goTo };
const list = createListPanel(wiring);
const nucleusPanel = createNucleusPanel({ ...wiring, step: list.step, onNucleus: selection.show });

/** @param {number} x @param {number} y level-0 pixels @param {number} reach CSS pixels @param {boolean} more whether those chosen stay */
function choose(x, y, reach, more) {
  const resolution = camera.map.getView().getResolution() ?? 1;
  const id = nucleusAt(nuclei.drawn(), x, y, reach * resolution);
  correcting.choose(id, more);
  if (id !== null && tabs.current() !== "correct") tabs.open("nucleus");
}

const actions = {
  step: list.step,
  /** @param {boolean} more whether those chosen stay */
  nearest: (more) => choose(camera.view().x, camera.view().y, 400, more),
  help: () => openHelp(keys),
  snapshot: () => openSnapshot(wiring, report),
  copy: () => void copyPlace(store, camera, tell),
  gallery: () =>
    openGallery({ slides, api, palette: store.get().palette, onChoose: (number) => void open({ slide: number }) }),
  panels: () => {
    document.body.classList.toggle("bare");
    camera.map.updateSize();
  },
  turn: () => camera.go({ rotation: camera.view().rotation + Math.PI / 12 }, true),
};
const keys = keyTable({ ...wiring, actions });

byId("left").append(createClassesPanel(wiring), createAppearancePanel(wiring), createFiltersPanel(wiring));
const tabs = createTabs(
  byId("right"),
  [
    { name: "nucleus", title: "Nucleus", element: nucleusPanel },
    { name: "list", title: "List", element: list.element },
    { name: "regions", title: "Regions", element: createRegionsPanel(wiring) },
    { name: "correct", title: "Correct", element: createCorrectPanel({ ...wiring, teach: createTeachPanel(wiring) }) },
    { name: "slide", title: "Slide", element: slidePanel.element },
  ],
  (name) => list.setOpen(name === "list"),
);
regions.onChange(() => {
  if (regions.chosen()) tabs.open("regions");
});
createToolbar({ store, camera, actions });
createStatus(wiring);
listen(target, keys);

camera.map.on("click", ({ coordinate: [x, y], originalEvent }) => {
  target.focus({ preventScroll: true });
  if (store.get().tool === "move" && store.get().visible)
    choose(x, -y, 12, /** @type {PointerEvent} */ (originalEvent).shiftKey);
});
camera.onMove(() => nuclei.expect(camera.box(), camera.map.getView().getResolution() ?? 1));
camera.map.on("moveend", () => {
  const { slide } = store.get();
  if (slide) writePlace({ slide: slide.number, ...camera.view() });
});

/**
 * Open a slide.
 * @param {import("./address.js").Place} place which, and where in it
 */
async function open(place) {
  const number = place.slide ?? 0;
  target.setAttribute("aria-busy", "true"); // until its picture is there
  try {
    /** @type {import("./types.js").Slide} */
    const slide = await api.json(`slides/${number}`);
    if (!slide.size_px) throw new Error(slide.message || "There is nothing to show of this slide.");
    camera.show(slide);
    store.set({
      slide,
      classes: slide.classes,
      shown: slide.classes.map(() => true),
      solo: null,
      ranges: {},
      selected: null,
      chosen: [],
      paintClass: 0,
      colourBy: "class",
      tool: "move",
    });
    if (place.mag) camera.go(place);
    byId("slide-button").textContent = slide.name;
    document.title = `${slide.name} – histonuc`;
    if (slide.message) tell(slide.message, true);
    else if (slide.picture === "missing") tell("The slide itself was not found; its nuclei are shown on white.", true);
    target.focus({ preventScroll: true });
    const thumbnail = await api.request(`slides/${number}/thumbnail`).then(
      (reply) => reply.blob(),
      () => null,
    );
    if (thumbnail && store.get().slide === slide) camera.showOverview(slide, thumbnail);
  } catch (error) {
    byId("slide-button").textContent = slides[number]?.name ?? "No slide";
    target.setAttribute("aria-busy", "false");
    report(/** @type {Error} */ (error));
  }
}

/** Follow a link that was pasted into the address of this tab. */
function follow() {
  const token = takeToken();
  const place = readPlace();
  if (token !== started || place.slide === undefined || place.slide >= slides.length) return location.reload();
  const { slide } = store.get();
  if (place.slide !== slide?.number) void open(place);
  else if (place.mag) camera.go(place);
}

async function start() {
  try {
    slides = (await api.json("slides")).slides;
  } catch (error) {
    return report(/** @type {Error} */ (error));
  }
  const place = readPlace();
  const known = place.slide !== undefined && place.slide < slides.length;
  await open(known ? place : { ...place, slide: 0 });
  if (slides.length > 1 && !known) actions.gallery();
  showHint();
  addEventListener("hashchange", follow);
  setInterval(() => {
    if (document.visibilityState !== "visible") return;
    void api.json("ping").catch(report);
    void corrections.refresh();
  }, PING_MS);
}

void start();
