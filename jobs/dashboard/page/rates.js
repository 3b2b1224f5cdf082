// What changed in a second, from counters that are asked for every two. A counter that moves with each checkpoint only
// goes up in steps: its rate is that from one step to another, by the times at which they were made.

const KEPT_SECONDS = 60;

export class Rates {
  #counters = new Map();
  #now = 0;

  /** Takes counters, by name, as they were at `asOf`. One that falls back is of another beginning. */
  take(now, counters, asOf = now) {
    this.#now = now;
    for (const [name, value] of Object.entries(counters)) {
      const before = this.#counters.get(name);
      const steps = before && value >= before.at(-1).value ? before : [];
      const last = steps.at(-1);
      if (!last || (value > last.value && asOf > last.asOf)) steps.push({ asOf, value });
      // Two are kept however old they are: without them a slow counter has no rate.
      while (steps.length > 2 && steps[0].asOf < asOf - KEPT_SECONDS) steps.shift();
      this.#counters.set(name, steps);
    }
  }

  /** A counter's rate, `null` until it is known. */
  of(name) {
    const steps = this.#counters.get(name) ?? [];
    if (steps.length === 0) return null;
    const [first, last] = [steps[0], steps.at(-1)];
    if (steps.length === 1) return this.#now - first.asOf > KEPT_SECONDS / 2 ? 0 : null;
    const step = (last.asOf - first.asOf) / (steps.length - 1);
    // A step that is long overdue does not come: the rate goes down.
    const until = this.#now - last.asOf > 2 * step + 4 ? this.#now : last.asOf;
    return (last.value - first.value) / (until - first.asOf);
  }
}
