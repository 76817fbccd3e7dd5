/**
 * Tabs, with arrow keys as screen readers expect.
 * @module
 */

import { el } from "./dom.js";

/**
 * Tabs and their panels.
 * @param {HTMLElement} target where they go
 * @param {{name: string, title: string, element: HTMLElement}[]} tabs what they show
 * @param {(name: string) => void} onOpen called with the tab that is open
 */
export function createTabs(target, tabs, onOpen) {
  const buttons = tabs.map(({ name, title }, i) =>
    el("button", {
      type: "button",
      role: "tab",
      id: `tab-${name}`,
      "aria-controls": `panel-${name}`,
      text: title,
      onclick: () => open(name),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = (i + step + tabs.length) % tabs.length;
        open(tabs[next].name);
        buttons[next].focus();
      },
    }),
  );
  const panels = tabs.map(({ name, element }) =>
    el(
      "div",
      { class: "side", role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, tabindex: 0 },
      element,
    ),
  );
  target.replaceChildren(el("div", { class: "tabs", role: "tablist" }, ...buttons), ...panels);

  let now = "";

  /** @param {string} wanted name of the tab */
  function open(wanted) {
    now = wanted;
    tabs.forEach(({ name }, i) => {
      buttons[i].setAttribute("aria-selected", String(name === wanted));
      buttons[i].tabIndex = name === wanted ? 0 : -1;
      panels[i].hidden = name !== wanted;
    });
    onOpen(wanted);
  }

  open(tabs[0].name);
  return { open, current: () => now };
}
