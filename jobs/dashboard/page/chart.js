// The chart: a line for each ad, solid as far as it is final, dashed from there on.

import uPlot from "./uplot.js";
import { axisLabels, compact, inUtc } from "./format.js";
import { colour } from "./palette.js";

const HEIGHT_PX = 300;

export class Chart {
  #box;
  #on;
  #plot = null;
  #drawn = "";
  #shown = { ads: [], times: [], range: [0, 1], provisionalFrom: null };

  /** `on.hover(index | null)` and `on.zoom(start, end)` hear what is done with it. */
  constructor(box, on) {
    this.#box = box;
    this.#on = on;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(box);
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("blur", () => this.#plot?.setCursor({ left: -10, top: -10 }));
  }

  /** Shows columns as `Points.columns` gives them. `field` is what of each point. */
  show({ ads, times, points, range, field, dark }) {
    const firstOpen = times.findIndex((_, index) => points.some((of) => of[index] && !of[index].final));
    const lastFinal = firstOpen < 0 ? times.length : firstOpen;
    this.#shown = { ads, times, range, provisionalFrom: firstOpen < 0 ? null : times[firstOpen] };
    const data = [times];
    for (const of of points) {
      const values = of.map((point) => point?.[field] ?? null);
      data.push(values.map((value, index) => (index < lastFinal ? value : null)));
      // From the last final point on, so that the line goes on where the other ends.
      data.push(values.map((value, index) => (index >= lastFinal - 1 && firstOpen >= 0 ? value : null)));
    }
    const drawn = JSON.stringify([ads.map(colour), dark, inUtc()]);
    if (this.#plot && drawn === this.#drawn) {
      this.#plot.setData(data);
    } else {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(), data, this.#box);
      this.#drawn = drawn;
    }
  }

  /** Lets the lines of the other ads step back; `null` brings them forward again. */
  emphasize(ad) {
    this.#plot?.series.forEach((series, index) => {
      if (index > 0) series.alpha = ad === null || this.#shown.ads[(index - 1) >> 1] === ad ? 1 : 0.18;
    });
    this.#plot?.redraw(false);
  }

  #size() {
    return { width: this.#box.clientWidth, height: HEIGHT_PX };
  }

  #options() {
    const ink = (name) => resolve(this.#box, name);
    const axis = {
      stroke: ink("--muted"),
      font: `12px ${getComputedStyle(document.body).fontFamily}`,
      ticks: { show: false },
      grid: { stroke: ink("--hairline"), width: 1 },
    };
    return {
      ...this.#size(),
      padding: [14, 10, 0, 0],
      legend: { show: false },
      scales: { x: { time: true, range: () => this.#shown.range }, y: { range: (_, _least, most) => [0, roof(most)] } },
      axes: [
        { ...axis, grid: { show: false }, space: 64, values: (_, splits, _axis, _space, apart) => axisLabels(splits, apart) },
        { ...axis, size: 56, gap: 8, space: 44, values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? compact(value) : "")) },
      ],
      tzDate: (seconds) => (inUtc() ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
      series: [{}, ...this.#shown.ads.flatMap((ad) => lines(colour(ad), ink("--card")))],
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { size: 8 },
      },
      hooks: {
        drawClear: [(plot) => this.#shade(plot, ink("--provisional"))],
        setCursor: [(plot) => this.#on.hover(plot.cursor.left >= 0 ? (plot.cursor.idx ?? null) : null)],
        setSelect: [(plot) => this.#zoom(plot)],
      },
    };
  }

  /** A ground behind what is provisional. */
  #shade(plot, fill) {
    const { times, provisionalFrom } = this.#shown;
    if (provisionalFrom === null) return;
    const before = times[times.indexOf(provisionalFrom) - 1] ?? provisionalFrom;
    const { left, top, width, height } = plot.bbox;
    const from = Math.max(left, plot.valToPos(before, "x", true));
    const until = Math.min(left + width, plot.valToPos(times.at(-1), "x", true));
    if (until <= from) return;
    plot.ctx.save();
    plot.ctx.fillStyle = fill;
    plot.ctx.fillRect(from, top, until - from, height);
    plot.ctx.restore();
  }

  #zoom(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#on.zoom(Math.round(plot.posToVal(left, "x")), Math.round(plot.posToVal(left + width, "x")));
  }

  #key(event) {
    const { times } = this.#shown;
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!this.#plot || times.length === 0 || !(event.key in steps)) return;
    event.preventDefault();
    const { left, idx } = this.#plot.cursor;
    const now = left >= 0 && idx != null ? idx : times.length - 1;
    const next = Math.min(times.length - 1, Math.max(0, now + steps[event.key]));
    this.#plot.setCursor({ left: this.#plot.valToPos(times[next], "x"), top: 1 });
  }
}

function lines(stroke, ground) {
  const few = { size: 5, stroke };
  return [
    { stroke, width: 2, points: { ...few, fill: stroke }, spanGaps: false },
    { stroke, width: 1.5, dash: [4, 4], points: { ...few, fill: ground }, spanGaps: false },
  ];
}

/** The top of the scale: a little air, and never nothing. */
function roof(most) {
  if (!(most > 0)) return 4;
  const unit = 10 ** Math.floor(Math.log10(most));
  return Math.ceil((most * 1.08) / (unit / 4)) * (unit / 4);
}

/** A colour variable as the browser computes it: `light-dark()` means nothing to a canvas. */
function resolve(box, name) {
  const before = box.style.color;
  box.style.color = `var(${name})`;
  const { color } = getComputedStyle(box);
  box.style.color = before;
  return color;
}
