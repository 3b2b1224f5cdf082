// The points of the chosen ads. What is final is asked for once; each round asks from the first point on that may
// change.

export class Points {
  /** What the points are of: another window or region has other points. */
  #of = "";
  #ads = new Map();
  #partial = false;

  /** From where on to ask, for points from `start` on. */
  from(ads, start, of) {
    if (of !== this.#of) {
      this.#ads.clear();
      this.#of = of;
      this.#partial = false;
    }
    if (this.#partial) return start;
    return Math.min(...ads.map((ad) => this.#firstOpen(ad, start)));
  }

  #firstOpen(ad, start) {
    const known = this.#ads.get(ad);
    // A range that begins earlier than what is there is asked for as a whole.
    if (!known || known.start > start) return start;
    let open = Math.max(start, known.asked);
    for (const [time, point] of known.points) if (!point.final) open = Math.min(open, time);
    return Math.max(open, start);
  }

  /** Whether some of it could not be reached. */
  get partial() {
    return this.#partial;
  }

  /** Takes an answer for `[from, end)`. */
  take(answer, ads, from, end) {
    for (const { ad_id: ad, data } of answer.series ?? [answer]) {
      if (!ads.includes(ad)) continue;
      const known = this.#ads.get(ad) ?? { start: from, asked: from, points: new Map() };
      known.start = Math.min(known.start, from);
      for (const time of known.points.keys()) if (time >= from) known.points.delete(time);
      for (const point of data) known.points.set(point.timestamp, point);
      // The last windows may not have been there yet.
      known.asked = Math.max(from, ...data.filter((point) => point.final).map((point) => point.timestamp));
      known.asked = Math.min(known.asked, end);
      this.#ads.set(ad, known);
    }
    // What was missing may be there next time.
    this.#partial = answer.partial === true;
  }

  /** The points of `[start, end)` as columns: the times, and for each ad its points, `null` where there is none. */
  columns(ads, start, end, watermark) {
    const times = new Set();
    for (const ad of ads) {
      for (const [time, point] of this.#ads.get(ad)?.points ?? []) {
        // Beyond the watermark, an empty window is one that has not happened yet.
        const happened = watermark == null || time < watermark || point.click_count > 0;
        if (time >= start && time < end && happened) times.add(time);
      }
    }
    const sorted = [...times].sort((one, other) => one - other);
    return {
      times: sorted,
      points: ads.map((ad) => sorted.map((time) => this.#ads.get(ad)?.points.get(time) ?? null)),
    };
  }
}
