// What changed in a second, from counters that are asked for every two. A counter that moves with each checkpoint only
// goes up in steps: its rate is that from one step that was seen to another.

const KEPT_SECONDS = 60;

export class Rates {
  #counters = new Map();
  #now = 0;

  /** Takes counters, by name, as they were at a time. One that falls back is of another beginning. */
  take(time, counters) {
    this.#now = time;
    for (const [name, value] of Object.entries(counters)) {
      const before = this.#counters.get(name);
      const counter = before && value >= before.value ? before : { value, since: time, steps: [] };
      if (value > counter.value) counter.steps.push({ time, value });
      counter.value = value;
      // Two are kept however old they are: without them a slow counter has no rate.
      while (counter.steps.length > 2 && counter.steps[0].time < time - KEPT_SECONDS) counter.steps.shift();
      this.#counters.set(name, counter);
    }
  }

  /** A counter's rate, `null` until it is known. */
  of(name) {
    const { steps = [], since = this.#now } = this.#counters.get(name) ?? {};
    if (steps.length < 2) return this.#now - since > KEPT_SECONDS / 2 ? 0 : null;
    const [first, last] = [steps[0], steps.at(-1)];
    const step = (last.time - first.time) / (steps.length - 1);
    // A step that is long overdue does not come: the rate goes down.
    const until = this.#now - last.time > 2 * step + 2 ? this.#now : last.time;
    return (last.value - first.value) / (until - first.time);
  }
}
