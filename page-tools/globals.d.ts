declare var ol: typeof import("ol/dist/ol.js").default;
