/**
 * OpenLayers as a module. Its built file is a plain script that index.html loads first.
 * @module
 */
export const ol = globalThis.ol;
