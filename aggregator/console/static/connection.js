// Whether the page still hears the aggregator, said in the header, in an alert, and to screen readers on each change.

import { field, show, write, writeStatus } from "./dom.js";
import { clock, clockWithZone } from "./format.js";
import { phaseOf } from "./event.js";

export function renderConnection(state, stream) {
  const connecting = state.board === null;
  const { lost } = stream;
  document.body.dataset.connection = connecting ? "connecting" : lost ? "lost" : "live";
  const status = field(document, "connection");
  if (connecting) writeStatus(status, "waiting", "Connecting");
  else if (lost) writeStatus(status, "bad", "Connection lost");
  else writeStatus(status, "ok", "Live");

  const now = state.now();
  const time = field(document, "clock");
  write(time, clockWithZone(now));
  time.dateTime = new Date(now).toISOString();

  const alert = field(document, "alert");
  show(alert, connecting ? stream.silent : lost);
  if (connecting && stream.silent) write(alert, "The aggregator does not answer, so nothing is known yet. Trying again every 2 seconds.");
  else if (lost && !connecting) write(alert, lostText(Date.parse(state.board.at)));
}

const lostText = (heardMs) =>
  `The aggregator has not been heard since ${clock(heardMs)}. Live figures are unknown until it answers; sites go on with ` +
  "the budgets they hold. Trying again every 2 seconds.";

let told = null;

// One sentence for screen readers when the phase, a link or the connection changes; silent otherwise.
export function renderAnnouncement(board, lost) {
  const down = board.sites.filter((site) => site.link === "down").map((site) => site.name);
  const text = lost
    ? "Connection to the aggregator lost."
    : [
        board.event ? `Event: ${phaseOf(board.event).name}.` : "No event.",
        down.length > 0 ? `Link down: ${down.join(", ")}.` : "",
      ].join(" ").trim();
  if (text !== told) {
    told = text;
    write(field(document, "announcement"), text);
  }
}
