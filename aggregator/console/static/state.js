// The board as this page knows it: the last snapshot with every delta applied, and the aggregator's clock.
//
// Times on the page are the aggregator's, carried on between messages by the browser's monotonic clock, so a browser
// whose wall clock is wrong still counts down to the right instant. Once the stream is lost nothing live is known.

export const WINDOW_MS = 300_000;

export class State {
  board = null;
  #history = new Map();
  #baselines = new Map();
  #serverMs = Date.now();
  #heardAt = performance.now();

  apply(kind, body) {
    const { history = [], ...parts } = body;
    if (kind === "snapshot") {
      this.#history.clear();
      this.board = parts;
    } else {
      this.board = { ...this.board, ...parts };
    }
    this.#serverMs = Date.parse(body.at);
    this.#heardAt = performance.now();
    for (const row of history) this.#history.set(Date.parse(row.t), row.sites);
    for (const t of this.#history.keys()) {
      if (t < this.#serverMs - WINDOW_MS) this.#history.delete(t);
    }
    this.#rememberBaseline();
  }

  now() {
    return this.#serverMs + (performance.now() - this.#heardAt);
  }

  // The last board with everything that was live taken out.
  lostBoard() {
    const unknown = (object, names) => ({ ...object, ...Object.fromEntries(names.map((name) => [name, null])) });
    const { portfolio, sites, vens } = this.board;
    return {
      ...this.board,
      portfolio: unknown(portfolio, Object.keys(portfolio)),
      sites: sites.map((site) => ({
        ...unknown(site, ["site_kw", "battery_kw", "gpu_kw", "soc_pct", "limit_kw", "baseline_kw", "deliverable_kw", "owed_kw"]),
        link: "unknown",
        stale: true,
      })),
      vens: vens.map((ven) => unknown(ven, ["registered", "why"])),
    };
  }

  // Rows of one site in order of time: [ms, metered kW, limit kW].
  siteHistory(siteId) {
    return this.#ordered().map(([t, sites]) => {
      const sample = sites[siteId];
      return [t, sample?.site_kw ?? null, sample?.limit_kw ?? null];
    });
  }

  // Rows of the portfolio: [ms, metered kW, target kW]. A sum with an unknown part is unknown, as on the board; a site
  // without a limit is free to draw what it draws, so its part of the target is its metered power.
  portfolioHistory() {
    return this.#ordered().map(([t, sites]) => {
      const samples = Object.values(sites);
      const limited = samples.some((s) => s.limit_kw !== null);
      const metered = sum(samples.map((s) => s.site_kw));
      return [t, metered, limited ? sum(samples.map((s) => s.limit_kw ?? s.site_kw)) : null];
    });
  }

  // Baseline of the event on the board, kW, from the time its budgets were in force; null when never seen.
  eventBaseline() {
    const { event } = this.board;
    return event ? this.#baselines.get(event.event_id) ?? null : null;
  }

  #rememberBaseline() {
    const { event, portfolio } = this.board;
    if (event && ["ramp", "hold"].includes(event.phase) && portfolio.limit_kw !== null && portfolio.baseline_kw !== null) {
      this.#baselines.set(event.event_id, portfolio.baseline_kw);
    }
  }

  #ordered() {
    return [...this.#history.entries()].sort(([a], [b]) => a - b);
  }
}

function sum(values) {
  return values.length === 0 || values.includes(null) ? null : values.reduce((a, b) => a + b, 0);
}
