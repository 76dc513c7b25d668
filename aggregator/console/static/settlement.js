// The newest statement: what was owed, what the stored readings show, what is paid.

import { field, part, show, write, writeFigure, writeStatus } from "./dom.js";
import { kwh, percent, usd } from "./format.js";

export function renderSettlement(statements) {
  const root = part("settlement");
  const latest = statements.at(-1);
  for (const name of ["figures", "which", "missing", "rules"]) show(field(root, name), latest !== undefined);
  show(field(root, "none"), latest === undefined);
  if (latest === undefined) return;
  // Exact decimals arrive as text; what is shown of them survives the conversion to a double.
  writeFigure(field(root, "payment"), usd(latest.payment_usd));
  writeFigure(field(root, "committed"), kwh(Number(latest.committed_kwh)));
  writeFigure(field(root, "delivered"), kwh(Number(latest.delivered_kwh)));
  writeFigure(field(root, "performance"), percent(Number(latest.performance_ratio) * 100));
  write(field(root, "which"), `Event ${latest.event_id} · ${latest.enrolment_id} · version ${latest.version}, ${latest.status}`);
  writeMissing(field(root, "missing"), latest.missing_intervals);
  writeRules(field(root, "rules"), latest);
}

function writeRules(element, { programme_id: programme, programme_verified: verified }) {
  if (verified) writeStatus(element, "ok", `The rules of programme ${programme} are verified`);
  else writeStatus(element, "warn", `Unverified: nobody has checked the rules of programme ${programme} against their source`);
}

function writeMissing(element, count) {
  if (count === 0) writeStatus(element, "ok", "Every interval of the hold was metered");
  else writeStatus(element, "warn", `${count} site ${count === 1 ? "interval" : "intervals"} missing: nothing is counted for them`);
}
