// Every VEN identity: registered or not, and when it last asked its VTN.

import { cell, field, part, row, show, writeStatus } from "./dom.js";
import { age, known } from "./format.js";

let drawn = "";

export function renderVens(vens, now) {
  const root = part("vens");
  show(field(root, "none"), vens.length === 0);
  show(root.querySelector(".scroll"), vens.length > 0);
  const shown = vens.map((ven) => ({ ...ven, polled: age(ven.last_poll, now) }));
  const key = JSON.stringify(shown);
  if (key === drawn) return;
  drawn = key;
  field(root, "rows").replaceChildren(...shown.map(venRow));
}

function venRow(ven) {
  const name = cell("th", ven.ven_name);
  name.scope = "row";
  name.append(cell("span", [ven.enrolment_id, ven.ven_id].filter(known).join(" · "), "sub"));
  const standing = cell("td", "");
  const status = cell("span", "", "status");
  if (!known(ven.registered)) writeStatus(status, "waiting", "Unknown");
  else writeStatus(status, ven.registered ? "ok" : "warn", ven.registered ? "Registered" : "Not registered");
  standing.append(status);
  if (known(ven.why)) standing.append(cell("span", ven.why, "sub"));
  return row([name, standing, cell("td", ven.polled, "number")]);
}
