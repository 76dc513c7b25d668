// The few ways this page writes into the document. Text goes in as text, never as markup, and only when it differs,
// so that a screen reader and a selection are left alone once a second.

import { UNKNOWN } from "./format.js";

export const field = (root, name) => root.querySelector(`[data-field="${name}"]`);
export const part = (name) => document.querySelector(`[data-part="${name}"]`);

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function fill(root, texts) {
  for (const [name, text] of Object.entries(texts)) write(field(root, name), text);
}

// A figure with its unit set smaller: "298.4 kW". Unknown is a word and is set as one.
export function writeFigure(element, text) {
  const split = text.match(/^(-?\d[\d.,]*)\s(.+)$/);
  const key = split ? split.slice(1).join(" ") : text;
  if (element.dataset.shown === key) return;
  element.dataset.shown = key;
  element.classList.toggle("is-unknown", text === UNKNOWN);
  if (!split) {
    element.textContent = text;
    return;
  }
  const unit = document.createElement("span");
  unit.className = "unit";
  unit.textContent = split[2];
  element.replaceChildren(`${split[1]} `, unit);
}

// A standing in words; kind (ok, warn, bad, waiting, plain) picks the mark that the style sheet puts before it.
export function writeStatus(element, kind, text) {
  write(element, text);
  if (element.dataset.kind !== kind) element.dataset.kind = kind;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

export function cell(tag, text, className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function row(cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}
