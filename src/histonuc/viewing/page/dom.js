/**
 * Making of elements. Text is always set as text, never as HTML.
 * @module
 */

/**
 * A new element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag its name
 * @param {Record<string, any>} [properties] attributes; functions are listeners ("onclick"), `class` and `text` as they say
 * @param {...(Node|string|null|undefined)} children what goes inside
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = String(value);
    else if (name === "class") element.className = String(value);
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * An element of the page.
 * @param {string} id its id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element "${id}"`);
  return element;
}

const PATHS = {
  hand: "M7 11V6.5a1.5 1.5 0 0 1 3 0V10m0-5a1.5 1.5 0 0 1 3 0v5m0-4a1.5 1.5 0 0 1 3 0v4m0-2a1.5 1.5 0 0 1 3 0v5c0 4-2.5 6.5-6 6.5S8 19 6.5 16L4.7 12.7a1.4 1.4 0 0 1 2.3-1.5L8 12.5",
  rectangle: "M4 6h16v12H4z",
  polygon: "M12 4 20 9.5 17 19H7L4 9.5z",
  freehand: "M4 17c2-7 5-11 8-11s4 4 1 6-4 6-1 6 5-3 8-4",
  camera: "M4 8h3l2-2.5h6L17 8h3v11H4zM12 16.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4z",
  link: "M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1",
  help: "M9.2 9.2a2.9 2.9 0 1 1 4 2.7c-.9.4-1.2 1-1.2 2M12 17.5v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  close: "M6 6l12 12M18 6 6 18",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  rotate: "M19 12a7 7 0 1 1-2.3-5.2M19 3v4.5h-4.5",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  palette:
    "M12 3a9 9 0 1 0 0 18c1.5 0 2-1 1.5-2-.6-1.3.2-2.5 1.7-2.5H18a3 3 0 0 0 3-3C21 7 17 3 12 3zM7.5 12v.1M10 7.5v.1M15 7.5v.1",
  panels: "M4 5h16v14H4zM15 5v14",
};

/**
 * A small picture for a button; screen readers read the button's label.
 * @param {keyof typeof PATHS} name which
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/**
 * Give a file to the person.
 * @param {Blob} blob its content
 * @param {string} name its name
 */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
