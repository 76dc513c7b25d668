// The page "Now": takes the stream, keeps the state, and draws every part once a second.

import { renderConnection, renderAnnouncement } from "./connection.js";
import { renderEvent } from "./event.js";
import { PortfolioView } from "./portfolio.js";
import { renderSettlement } from "./settlement.js";
import { SitesView } from "./sites.js";
import { State } from "./state.js";
import { NowStream } from "./stream.js";
import { renderVens } from "./vens.js";

const TICK_MS = 1000;

const state = new State();
const portfolio = new PortfolioView();
const sites = new SitesView();

const stream = new NowStream((kind, body) => {
  state.apply(kind, body);
  draw();
});

let drawnAt = 0;

function draw() {
  drawnAt = performance.now();
  renderConnection(state, stream);
  if (state.board === null) return;
  const board = stream.lost ? state.lostBoard() : state.board;
  const now = state.now();
  renderEvent(board, now);
  portfolio.render(board, state, now);
  sites.render(board, state, now);
  renderVens(board.vens, now);
  renderSettlement(board.settlements);
  renderAnnouncement(board, stream.lost);
}

// Countdowns and ages move, and silence shows, without any message.
setInterval(() => {
  if (performance.now() - drawnAt >= TICK_MS * 0.9) draw();
}, TICK_MS);

stream.open();
draw();
