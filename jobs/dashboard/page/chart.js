// The chart: a line for each ad, solid as far as it is final, dashed from there on. The window that is being counted just
// now is a ring that rises, off the line: it does not compare with whole windows.

import uPlot from "./uplot.js";
import { axisLabels, compact, inUtc } from "./format.js";
import { colour } from "./palette.js";

/** Lines of an ad: provisional, final, and the ring. */
const PARTS = 3;

/** Up to so many points each is drawn by itself; more would only roughen the line. */
const MOST_DOTS = 30;

export class Chart {
  #box;
  #on;
  #plot = null;
  #drawn = "";
  #shown = { ads: [], times: [], range: [0, 1], shade: { from: 0, until: 0 } };

  /** `on.hover(index | null)` and `on.zoom(start, end)` hear what is done with it. */
  constructor(box, on) {
    this.#box = box;
    this.#on = on;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(box);
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("blur", () => this.#plot?.setCursor({ left: -10, top: -10 }));
  }

  /**
   * Shows columns as `Points.columns` gives them. `field` is what of each point; windows that begin after
   * `endedAt` are still being counted.
   */
  show({ ads, times, points, range, field, endedAt, dark }) {
    const openFrom = times.find((_, index) => points.some((of) => of[index] && !of[index].final)) ?? Infinity;
    const lastFinal = times.findLast((time) => time < openFrom) ?? -Infinity;
    this.#shown = {
      ads,
      times,
      range,
      shade: { from: lastFinal, until: openFrom < Infinity ? times.at(-1) : -Infinity },
    };
    const data = [times];
    for (const of of points) {
      const part = (has) => times.map((time, index) => (has(time) ? (of[index]?.[field] ?? null) : null));
      // From the last final point on, so that the line goes on where the other ends.
      data.push(part((time) => openFrom <= endedAt && time >= lastFinal && time <= endedAt));
      data.push(part((time) => time < openFrom));
      data.push(part((time) => time >= openFrom && time > endedAt));
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
      if (index > 0) series.alpha = ad === null || this.#shown.ads[Math.floor((index - 1) / PARTS)] === ad ? 1 : 0.18;
    });
    this.#plot?.redraw(false);
  }

  #size() {
    return { width: this.#box.clientWidth, height: this.#box.clientHeight };
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
      padding: [14, 22, 0, 0],
      legend: { show: false },
      scales: { x: { time: true, range: () => this.#shown.range }, y: { range: (_, _least, most) => [0, roof(most)] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 28,
          gap: 6,
          space: 64,
          values: (_, splits, _axis, _space, apart) => axisLabels(splits, apart),
        },
        {
          ...axis,
          size: 56,
          gap: 8,
          space: 44,
          values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? compact(value) : "")),
        },
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
    const { shade, times } = this.#shown;
    if (times.length === 0) return;
    const { left, top, width, height } = plot.bbox;
    const from = Math.max(left, plot.valToPos(Math.max(shade.from, times[0]), "x", true));
    const until = Math.min(left + width, plot.valToPos(shade.until, "x", true));
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
  const few = { size: 6, stroke, show: (plot) => plot.data[0].length <= MOST_DOTS };
  return [
    { stroke, width: 1.5, dash: [4, 4], points: { ...few, fill: ground } },
    { stroke, width: 2, points: { ...few, fill: stroke } },
    { stroke, width: 1.5, paths: () => null, points: { size: 8, stroke, fill: ground, show: true } },
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
