// What changed in a second, from counters that are asked for every two.

const KEPT_SECONDS = 120;

export class Rates {
  #samples = [];

  /** Takes counters, by name, as they were at a time. Counters that fall back are of another beginning. */
  take(time, counters) {
    const last = this.#samples.at(-1);
    if (last && time <= last.time) return;
    if (last && Object.entries(counters).some(([name, value]) => value < last.counters[name])) this.#samples = [];
    this.#samples.push({ time, counters });
    while (this.#samples[0].time < time - KEPT_SECONDS) this.#samples.shift();
  }

  /** A counter's rate over the last seconds, `null` until there are two samples. */
  of(name, seconds) {
    const last = this.#samples.at(-1);
    const first = this.#samples.find((sample) => sample.time >= (last?.time ?? 0) - seconds);
    if (!last || first === last) return null;
    return (last.counters[name] - first.counters[name]) / (last.time - first.time);
  }
}
