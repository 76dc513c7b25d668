// One card a site: metered power against its limit, its devices, and how fresh all of that is.

import { field, part, show, write, writeFigure, writeStatus } from "./dom.js";
import { PowerChart } from "./chart.js";
import { age, known, kw, number, percent } from "./format.js";

// Above its limit by more than this share of the baseline a site is said to be over; below, it is tracking noise.
const OVER_SHARE = 0.02;
// Half of the last digit shown: what is nearer to zero than this reads as 0.0.
const SHOWN_KW = 0.05;

export class SitesView {
  #list = part("sites");
  #charts = new Map();

  render(board, state, now) {
    show(field(document, "no-sites"), board.sites.length === 0);
    renderSimulation(field(document, "simulation"), board.sites);
    for (const site of board.sites) {
      const card = this.#card(site);
      renderSite(card, site, now);
      const drawn = this.#chart(card, site).draw({ rows: state.siteHistory(site.site_id), now, event: board.event, baseline: null });
      show(field(card, "no-data"), !drawn.any);
      field(card, "chart").setAttribute("aria-label", `${site.name}: metered ${kw(site.site_kw)}, limit ${limit(site)}, last 5 minutes. Values in the table above.`);
    }
  }

  #card(site) {
    const found = [...this.#list.children].find((card) => card.dataset.site === site.site_id);
    if (found) return found;
    const card = document.getElementById("site-card").content.firstElementChild.cloneNode(true);
    card.dataset.site = site.site_id;
    this.#list.append(card);
    return card;
  }

  #chart(card, site) {
    if (!this.#charts.has(site.site_id)) this.#charts.set(site.site_id, new PowerChart(field(card, "chart"), { small: true }));
    return this.#charts.get(site.site_id);
  }
}

function renderSite(card, site, now) {
  renderLink(field(card, "link"), site, now);
  writeFigure(field(card, "site_kw"), kw(site.site_kw));
  writeFigure(field(card, "limit_kw"), limit(site));
  renderMargin(field(card, "margin"), site);
  write(field(card, "name"), site.name);
  show(field(card, "simulated"), site.simulated === true);
  const facts = {
    reduction: reduction(site),
    deliverable_kw: kw(site.deliverable_kw),
    gpu_kw: kw(site.gpu_kw),
    battery_kw: battery(site.battery_kw),
    soc_pct: percent(site.soc_pct),
    budget: budget(site),
  };
  for (const [name, text] of Object.entries(facts)) writeFigure(field(card, name), text);
}

// What a simulator says must not be taken for a site's, nor the money that follows from it for earned.
function renderSimulation(element, sites) {
  const count = sites.filter((site) => site.simulated === true).length;
  show(element, count > 0);
  if (count === sites.length) write(element, "Every site is simulated. No figure here, payment included, comes from a real one.");
  else write(element, `${count} of ${sites.length} sites ${count === 1 ? "is" : "are"} simulated. No sum with ${count === 1 ? "its" : "their"} part in it, payment included, is real.`);
}

function renderLink(element, site, now) {
  const heard = age(site.last_seen, now);
  if (site.link === "never") writeStatus(element, "waiting", "Never connected");
  else if (site.link === "unknown") writeStatus(element, "waiting", "Link unknown");
  else if (site.link === "down") writeStatus(element, "bad", `Link down, heard ${heard}`);
  else if (site.stale) writeStatus(element, "warn", `Link up, silent since ${heard}`);
  else writeStatus(element, "ok", `Link up, heard ${heard}`);
}

// The board's null limit means none is in force, except where the page itself has lost the board.
function limit(site) {
  if (known(site.limit_kw)) return kw(site.limit_kw);
  return site.link === "unknown" ? kw(null) : "none";
}

function renderMargin(element, site) {
  if (!known(site.site_kw)) return writeStatus(element, "warn", site.link === "up" || site.link === "down" ? "Not reporting" : "");
  if (!known(site.limit_kw)) return writeStatus(element, "plain", "Free to run");
  const over = site.site_kw - site.limit_kw;
  const text = Math.abs(over) < SHOWN_KW ? "At the limit" : `${number(Math.abs(over))} kW ${over > 0 ? "over" : "under"} limit`;
  const tolerated = OVER_SHARE * (site.baseline_kw ?? site.limit_kw);
  return writeStatus(element, over > tolerated ? "warn" : "ok", text);
}

function reduction(site) {
  if (!known(site.site_kw) || !known(site.baseline_kw)) return kw(null);
  if (!known(site.limit_kw)) return "none due";
  const now = number(site.baseline_kw - site.site_kw);
  return known(site.owed_kw) ? `${now} of ${kw(site.owed_kw)}` : `${now} kW`;
}

function battery(value) {
  if (!known(value)) return kw(null);
  if (Math.abs(value) < SHOWN_KW) return "idle";
  return `${kw(Math.abs(value))} ${value > 0 ? "discharging" : "charging"}`;
}

function budget(site) {
  if (!known(site.budget_revision)) return "none";
  return `${site.budget_revision}, ${site.budget_acked ? "acknowledged" : "not yet acknowledged"}`;
}
