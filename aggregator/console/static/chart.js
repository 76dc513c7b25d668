// One chart of power over time: metered, limit, and the phases of an event behind them.
//
// Drawn on canvas by Apache ECharts without animation. Colours come from the style sheet's custom properties, so light
// and dark follow the system; the lines differ by dash as well as by colour. The vertical axis is fitted to the data,
// and draw() returns where it starts so that the page can say so.

import { clock, kw, known, zone } from "./format.js";
import { WINDOW_MS } from "./state.js";

const AHEAD_MS = 60_000; // room for what is coming, while an event is near or under way
const MIN_SPAN = 0.08; // of the largest value: never blow noise up to the height of the chart

const LABEL_PX = 56; // a phase narrower than this has no room for its name

const { echarts } = globalThis;
const scheme = matchMedia("(prefers-color-scheme: dark)");

export class PowerChart {
  #chart;
  #element;
  #small;
  #colours;

  constructor(element, { small }) {
    this.#element = element;
    this.#small = small;
    this.#colours = readColours(element);
    this.#chart = echarts.init(element, null, { renderer: "canvas" });
    new ResizeObserver(() => this.#chart.resize()).observe(element);
    scheme.addEventListener("change", () => {
      this.#colours = readColours(element);
    });
  }

  // rows: [ms, metered kW | null, limit kW | null] in order of time. Returns {any, floor}: whether anything was drawn
  // and where the vertical axis starts, kW.
  draw({ rows, now, event, baseline }) {
    const shown = withGaps(rows);
    const spans = phaseSpans(event);
    const base = baselineLine(baseline, spans, now);
    const values = [...shown.flatMap(([, metered, limit]) => [metered, limit]), ...base.map(([, v]) => v)].filter(known);
    const any = values.length > 0;
    const scale = niceScale(values, this.#small ? 2 : 5);
    const current = spans.some((span) => span.to > now && span.from < now + AHEAD_MS);
    const last = current ? now + AHEAD_MS : now;
    this.#element.classList.toggle("is-empty", !any);
    this.#chart.setOption(
      {
        animation: false,
        textStyle: { fontFamily: getComputedStyle(this.#element).fontFamily },
        grid: this.#small ? { left: 44, right: 10, top: 24, bottom: 24 } : { left: 56, right: 20, top: 40, bottom: 44 },
        xAxis: this.#timeAxis(now - WINDOW_MS, last, now),
        yAxis: this.#powerAxis(scale),
        tooltip: this.#tooltip(),
        series: any ? this.#series({ shown, base, spans, now, last }) : [],
      },
      { notMerge: false, replaceMerge: ["series"] },
    );
    return { any, floor: scale.min };
  }

  #timeAxis(min, max, now) {
    const { ink, line } = this.#colours;
    return {
      type: "time",
      min,
      max,
      name: this.#small ? "" : `Time (${zone(now)})`,
      nameLocation: "middle",
      nameGap: 28,
      nameTextStyle: { color: ink, fontSize: 12 },
      minInterval: 60_000,
      maxInterval: this.#small ? 120_000 : 60_000,
      axisLine: { lineStyle: { color: line } },
      axisTick: { lineStyle: { color: line } },
      axisLabel: { color: ink, fontSize: this.#small ? 11 : 12, hideOverlap: true, formatter: (ms) => clock(ms).slice(0, 5) },
      splitLine: { show: false },
    };
  }

  #powerAxis({ min, max, step }) {
    const { ink, line } = this.#colours;
    return {
      type: "value",
      min,
      max,
      interval: step,
      name: "kW",
      nameLocation: "end",
      nameGap: this.#small ? 8 : 14,
      nameTextStyle: { color: ink, fontSize: this.#small ? 11 : 12, align: "right", padding: [0, 8, 0, 0] },
      axisLabel: { color: ink, fontSize: this.#small ? 11 : 12 },
      splitLine: { lineStyle: { color: line } },
    };
  }

  #tooltip() {
    const { surface, strong, line } = this.#colours;
    return {
      trigger: "axis",
      confine: true,
      backgroundColor: surface,
      borderColor: line,
      textStyle: { color: strong, fontSize: 12 },
      axisPointer: { type: "line", lineStyle: { color: line } },
      // Only our own words and numbers go in: ECharts takes this text as markup.
      formatter: (items) => {
        const lines = items
          .filter((item) => item.seriesName !== "" && known(item.value[1]))
          .map((item) => `${item.seriesName}: <b>${kw(item.value[1])}</b>`);
        return lines.length > 0 ? [clock(items[0].value[0]), ...lines].join("<br>") : "";
      },
    };
  }

  #series({ shown, base, spans, now, last }) {
    const { metered, limit, baseline } = this.#colours;
    const line = (name, data, style, more = {}) => ({
      type: "line", name, data, showSymbol: false, silent: true, lineStyle: style, itemStyle: { color: style.color }, ...more,
    });
    const wide = this.#small ? 1.8 : 2.4;
    return [
      ...this.#reduction(shown, base),
      line("Baseline", base, { color: baseline, width: 1.6, type: [2, 4] }),
      line("Target", shown.map(([t, , kwLimit]) => [t, kwLimit]), { color: limit, width: this.#small ? 1.6 : 2, type: [7, 4] }),
      line("Metered", shown.map(([t, kwNow]) => [t, kwNow]), { color: metered, width: wide }, {
        markArea: this.#phaseAreas(spans, now - WINDOW_MS, last),
        markLine: last > now ? this.#nowLine(now) : undefined,
      }),
    ];
  }

  // The area between metered and baseline: an invisible line at the lower edge, and the rest stacked on it.
  #reduction(shown, base) {
    if (base.length === 0) return [];
    const [[from, kwBase], [to]] = base;
    const inside = shown
      .filter(([t]) => t >= from && t <= to)
      .map(([t, metered]) => [t, known(metered) && metered < kwBase ? metered : null]);
    const stacked = (data, areaStyle) => ({
      type: "line", name: "", stack: "reduction", stackStrategy: "all", data, showSymbol: false, silent: true,
      lineStyle: { opacity: 0 }, areaStyle,
    });
    return [
      stacked(inside, undefined),
      stacked(inside.map(([t, metered]) => [t, known(metered) ? kwBase - metered : null]), { color: this.#colours.reduction, opacity: 1 }),
    ];
  }

  #phaseAreas(spans, min, max) {
    const { band, bandStrong, ink } = this.#colours;
    const visible = spans.filter((span) => span.to > min && span.from < max);
    return {
      silent: true,
      label: { position: "insideTop", color: ink, fontSize: 12, distance: 6 },
      data: visible.map((span) => {
        const [from, to] = [Math.max(span.from, min), Math.min(span.to, max)];
        const labelled = !this.#small && ((to - from) / (max - min)) * this.#chart.getWidth() >= LABEL_PX;
        const itemStyle = { color: span.key === "hold" ? bandStrong : band };
        return [{ name: span.name, xAxis: from, itemStyle, label: { show: labelled } }, { xAxis: to }];
      }),
    };
  }

  #nowLine(now) {
    const { ink } = this.#colours;
    return {
      silent: true,
      symbol: "none",
      lineStyle: { color: ink, width: 1, type: "solid" },
      label: { show: !this.#small, formatter: "now", color: ink, fontSize: 12, position: "end", distance: 4 },
      data: [{ xAxis: now }],
    };
  }
}

function readColours(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    metered: colour("metered"), limit: colour("limit"), baseline: colour("baseline"), reduction: colour("reduction"),
    band: colour("band"), bandStrong: colour("band-strong"), ink: colour("ink-3"), strong: colour("ink"),
    line: colour("line"), surface: colour("surface"),
  };
}

function phaseSpans(event) {
  if (!event || event.phase === "none" || event.cancelled) return [];
  const at = (name) => Date.parse(event[name]);
  return [
    { name: "Ramp", key: "ramp", from: at("start"), to: at("hold_start") },
    { name: "Hold", key: "hold", from: at("hold_start"), to: at("hold_end") },
    { name: "Release", key: "release", from: at("hold_end"), to: at("release_end") },
  ];
}

// The event's baseline over ramp and hold, as far as they are past or shown ahead.
function baselineLine(baseline, spans, now) {
  if (!known(baseline) || spans.length === 0) return [];
  const [from, to] = [Math.max(spans[0].from, now - WINDOW_MS), spans[1].to];
  return from < to ? [[from, baseline], [Math.min(to, now + AHEAD_MS), baseline]] : [];
}

// A second without any row at all is a gap too: the line must not bridge it.
function withGaps(rows) {
  return rows.flatMap((row, i) => (i > 0 && row[0] - rows[i - 1][0] > 1500 ? [[row[0] - 1000, null, null], row] : [row]));
}

// An axis of round numbers around the values, in about so many steps.
function niceScale(values, steps) {
  if (values.length === 0) return { min: 0, max: 1, step: 1 };
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const missing = MIN_SPAN * Math.max(Math.abs(high), 1) - (high - low);
  if (missing > 0) [low, high] = [low - missing / 2, high + missing / 2];
  const rough = (high - low) / steps;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * magnitude).find((s) => s >= rough);
  const pad = 0.06 * (high - low);
  return { min: Math.floor((low - pad) / step) * step, max: Math.ceil((high + pad) / step) * step, step };
}
