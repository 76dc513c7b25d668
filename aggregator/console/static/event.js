// The banner: what the grid asks of the portfolio now, how long still, and how much of it is delivered.

import { field, fill, part, show, write, writeFigure, writeStatus } from "./dom.js";
import { clock, clockWithZone, duration, known, kw, number, percent } from "./format.js";

// A reduction of at least this share of what is owed counts as delivered; the rest is the meter's noise.
const DELIVERED_SHARE = 0.98;
// The bullet ends at this multiple of what is owed, so that over-delivery shows.
const BULLET_SPAN = 1.25;

const at = (iso) => clock(Date.parse(iso));

const PHASES = {
  none: { name: "Opted out", title: () => "We opted out of this event" },
  notice: { name: "Notice", title: (e) => `${kw(e.committed_kw)} reduction starts at ${clockWithZone(Date.parse(e.start))}`, until: "start", next: "Starts in" },
  ramp: { name: "Ramp", title: (e) => `Ramping to a ${kw(e.committed_kw)} reduction`, until: "hold_start", next: "Hold begins in" },
  hold: { name: "Hold", title: (e) => `${kw(e.committed_kw)} reduction owed until ${clockWithZone(Date.parse(e.hold_end))}`, until: "hold_end", next: "Hold ends in" },
  release: { name: "Release", title: () => "Returning to baseline", until: "release_end", next: "Released in" },
  done: { name: "Done", title: () => "The event is over" },
  cancelled: { name: "Cancelled", title: () => "The utility cancelled this event" },
};

export const phaseOf = (event) => (event.cancelled && event.phase !== "none" ? PHASES.cancelled : PHASES[event.phase]);

const delivering = (event) => !event.cancelled && ["ramp", "hold", "release"].includes(event.phase);

export function renderEvent(board, now) {
  const root = part("event");
  const { event } = board;
  if (event === null) {
    renderQuiet(root, board);
    document.title = "Now · Negawatt";
    return;
  }
  const phase = phaseOf(event);
  root.dataset.phase = event.cancelled ? "cancelled" : event.phase;
  document.title = `${phase.name} · Negawatt`;
  fill(root, { phase: phase.name, "event-id": `Event ${event.event_id} · ${event.enrolment_id}`, title: phase.title(event), lede: lede(event, board.settlements) });
  renderCountdown(root, event, phase, now);
  writeFigure(field(root, "requested"), kw(event.requested_kw));
  writeFigure(field(root, "committed"), known(event.committed_kw) ? kw(event.committed_kw) : "nothing");
  renderBaseline(root, event);
  renderDelivered(root, board);
  const optedIn = event.opt === "optIn";
  writeStatus(field(root, "opt"), optedIn ? "ok" : "warn", optedIn ? "Opted in" : "Opted out");
  renderPhases(field(root, "phases"), event, now);
  show(field(root, "figures"), true);
  show(field(root, "phases"), !event.cancelled && event.phase !== "none");
}

function renderQuiet(root, board) {
  root.dataset.phase = "quiet";
  const { deliverable_kw: deliverable } = board.portfolio;
  const waiting = board.sites.length === 0 || board.sites.every((site) => site.link === "never");
  fill(root, {
    phase: "No event",
    "event-id": "",
    title: waiting ? "Waiting for the first site" : "No event is under way",
    lede: waiting
      ? "No site has connected yet."
      : `The portfolio could reduce by ${known(deliverable) ? kw(deliverable) : "an unknown amount"} now.`,
  });
  show(field(root, "figures"), false);
  show(field(root, "phases"), false);
}

function lede(event, settlements) {
  const end = clockWithZone(Date.parse(event.hold_end));
  if (event.phase === "none") return event.reason;
  if (event.cancelled) return event.phase === "done" ? "The sites run uncurtailed." : "The sites return to baseline.";
  if (event.phase !== "done") return `${at(event.start)} to ${end}, then release until ${at(event.release_end)}.`;
  const settled = settlements.some((s) => s.event_id === event.event_id && s.enrolment_id === event.enrolment_id);
  const statement = settled ? "The statement is below." : "The statement follows from stored meter readings.";
  return `The hold ended at ${end}. ${statement}`;
}

function renderCountdown(root, event, phase, now) {
  show(field(root, "countdown-item"), phase.until !== undefined);
  if (phase.until === undefined) return;
  write(field(root, "countdown-label"), phase.next);
  write(field(root, "countdown"), duration((Date.parse(event[phase.until]) - now) / 1000));
}

// What the committed reduction is counted from.
function renderBaseline(root, event) {
  show(field(root, "baseline-item"), known(event.baseline_kw));
  writeFigure(field(root, "baseline"), kw(event.baseline_kw));
  write(field(root, "baseline-note"), event.baseline_settled ? "fixed at the start" : "forecast until the start");
}

function renderDelivered(root, board) {
  const { event, portfolio, sites } = board;
  const note = field(root, "delivered-note");
  const figure = field(root, "delivered");
  const bullet = field(root, "bullet");
  const owed = event.committed_kw;
  show(field(root, "delivered-item"), delivering(event));
  if (!delivering(event)) return;
  const delivered = known(portfolio.baseline_kw) && known(portfolio.site_kw) ? portfolio.baseline_kw - portfolio.site_kw : null;
  writeFigure(figure, kw(delivered));
  const share = known(delivered) && owed > 0 ? delivered / owed : null;
  bullet.classList.toggle("is-unknown", share === null);
  bullet.style.setProperty("--fill", Math.min(Math.max(share ?? 0, 0), BULLET_SPAN) / BULLET_SPAN);
  bullet.style.setProperty("--mark", 1 / BULLET_SPAN);
  if (delivered === null) {
    writeStatus(note, "warn", partlyKnown(sites));
  } else if (event.phase !== "hold" || share === null) {
    writeStatus(note, "plain", share === null ? "" : `${percent(share * 100)} of the commitment`);
  } else if (share >= DELIVERED_SHARE) {
    writeStatus(note, "ok", `${percent(share * 100)} of the commitment`);
  } else {
    writeStatus(note, "warn", `${number(owed - delivered)} kW short, ${percent(share * 100)}`);
  }
}

// What the reporting sites deliver, when the sum is unknown because others do not report.
function partlyKnown(sites) {
  const parts = sites.filter((s) => known(s.baseline_kw) && known(s.site_kw));
  if (parts.length === 0) return "no site reports";
  const total = parts.reduce((sum, s) => sum + s.baseline_kw - s.site_kw, 0);
  return `${kw(total)} at the ${parts.length} of ${sites.length} sites that report`;
}

function renderPhases(list, event, now) {
  const steps = [
    ["Ramp", "ramp", event.start, event.hold_start],
    ["Hold", "hold", event.hold_start, event.hold_end],
    ["Release", "release", event.hold_end, event.release_end],
  ].map(([name, key, from, to]) => ({ name, key, from: Date.parse(from), to: Date.parse(to) }));
  if (list.children.length === 0) list.append(...steps.map(phaseItem));
  steps.forEach((step, i) => {
    const item = list.children[i];
    const done = step.to > step.from ? (now - step.from) / (step.to - step.from) : now >= step.to ? 1 : 0;
    item.style.setProperty("--seconds", (step.to - step.from) / 1000);
    item.style.setProperty("--done", Math.min(Math.max(done, 0), 1));
    if (step.key === event.phase) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
    fill(item, { name: step.name, span: `${clock(step.from)} – ${clock(step.to)}` });
  });
}

function phaseItem() {
  const item = document.createElement("li");
  for (const name of ["name", "span"]) {
    const text = document.createElement("span");
    text.dataset.field = name;
    item.append(text);
  }
  return item;
}
