// The portfolio: its sums, the large chart, and the table that says the same as every chart on the page.

import { cell, field, part, row, show, write, writeFigure } from "./dom.js";
import { PowerChart } from "./chart.js";
import { clock, known, kw, number, zone } from "./format.js";

const TABLE_STEP_MS = 10_000;

export class PortfolioView {
  #root = part("portfolio");
  #twin = part("twin");
  #chart = new PowerChart(field(part("portfolio"), "chart"), { small: false });

  render(board, state, now) {
    const { portfolio, sites } = board;
    const reporting = sites.filter((site) => known(site.site_kw)).length;
    for (const name of ["site_kw", "baseline_kw", "deliverable_kw"]) writeFigure(field(this.#root, name), kw(portfolio[name]));
    writeFigure(field(this.#root, "target_kw"), target(board));
    writeFigure(field(this.#root, "reporting"), `${reporting} of ${sites.length}`);

    const rows = state.portfolioHistory();
    const drawn = this.#chart.draw({ rows, now, event: board.event, baseline: state.eventBaseline() });
    show(field(this.#root, "no-data"), !drawn.any);
    write(field(this.#root, "caption"), drawn.any ? caption(drawn, now) : "");
    field(this.#root, "chart").setAttribute(
      "aria-label",
      `Portfolio power over the last 5 minutes: metered ${kw(portfolio.site_kw)}, target ${target(board)}. ` +
        "The table below has the values.",
    );
    if (this.#twin.open) this.#renderTable(board, state, rows, now);
  }

  #renderTable(board, state, rows, now) {
    const head = field(this.#twin, "head");
    const titles = [
      `Time (${zone(now)})`, "Portfolio metered", "Portfolio target",
      ...board.sites.flatMap((site) => [`${site.name} metered`, `${site.name} limit`]),
    ];
    const perSite = board.sites.map((site) => state.siteHistory(site.site_id));
    const picked = rows.map((_, i) => i).filter((i) => rows[i][0] % TABLE_STEP_MS === 0).reverse();
    const key = JSON.stringify([titles, picked.map((i) => rows[i]), perSite.map((h) => picked.map((i) => h[i]))]);
    if (head.dataset.shown === key) return;
    head.dataset.shown = key;
    head.replaceChildren(row(titles.map(headCell)));
    field(this.#twin, "body").replaceChildren(...picked.map((i) => tableRow(rows[i], perSite.map((h) => h[i]))));
  }
}

function headCell(title) {
  const element = cell("th", title);
  element.scope = "col";
  return element;
}

function tableRow([t, metered, target], sites) {
  const time = cell("th", clock(t));
  time.scope = "row";
  const values = [
    number(metered), limitText(target, metered),
    ...sites.flatMap(([, kwNow, limit]) => [number(kwNow), limitText(limit, kwNow)]),
  ];
  return row([time, ...values.map((value) => cell("td", value, "number"))]);
}

// A second without a sample says nothing about the limit either.
const limitText = (limit, metered) => (known(limit) || !known(metered) ? number(limit) : "none");

// Without a limit anywhere there is no target; a limit with an unreported site beside it makes an unknown one.
function target({ portfolio, sites }) {
  if (known(portfolio.target_kw)) return kw(portfolio.target_kw);
  const limited = sites.some((site) => known(site.limit_kw) || site.link === "unknown");
  return limited ? kw(null) : "none";
}

function caption({ floor }, now) {
  const axis = floor > 0 ? ` The vertical axis starts at ${kw(floor)}, not at zero.` : "";
  return `One-second readings, times in ${zone(now)}. A gap is a second without a reading from every site.${axis}`;
}
