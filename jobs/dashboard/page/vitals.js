// Five figures that say whether all is well.

import { $, h, write } from "./dom.js";
import { NOTHING, ago, bytes, clock, compact, count, duration, rate } from "./format.js";

const TILES = {
  counted: "Counted",
  behind: "Behind",
  lag: "Still to read",
  checkpoint: "Last checkpoint",
  ingest: "Taken in",
};

export class Vitals {
  #tiles = new Map();

  constructor() {
    for (const [name, title] of Object.entries(TILES)) {
      const value = h("dd", { class: "value" }, NOTHING);
      const note = h("dd", { class: "note" }, "\u00a0");
      const tile = h("dl", { class: "tile" }, h("dt", {}, title), value, note);
      this.#tiles.set(name, { tile, value, note });
      $("vitals").append(tile);
    }
  }

  show({ now, jobs, ingest }, rates) {
    this.#set("counted", perSecond(rates.of("counted")), `${compact(sum(jobs, (job) => job.totals.counted))} in all`);
    const watermarks = jobs.map((job) => job.watermark).filter((watermark) => watermark != null);
    const watermark = watermarks.length > 0 ? Math.min(...watermarks) : null;
    const behind = watermark === null ? null : Math.max(0, now - watermark);
    const until = watermark === null ? "no clicks yet" : `watermark ${clock(watermark, "second").text}`;
    this.#set("behind", duration(behind), until, behind > 300 ? "warn" : "");
    this.#lag(jobs);
    this.#checkpoint(now, jobs);
    this.#ingest(ingest, rates);
  }

  #lag(jobs) {
    const unit = jobs[0]?.lag_unit ?? "records";
    const lags = jobs.filter((job) => job.lag_unit === unit).flatMap((job) => Object.values(job.lag ?? {}));
    const all = lags.reduce((one, other) => one + other, 0);
    const value = lags.length === 0 ? NOTHING : unit === "bytes" ? bytes(all) : compact(all);
    this.#set(
      "lag",
      value,
      lags.length === 0 ? "\u00a0" : `${unit === "records" ? "records in " : "in "}${parts(lags.length)}`,
    );
  }

  #checkpoint(now, jobs) {
    const dated = jobs.map((job) => job.checkpoint).filter((checkpoint) => checkpoint?.committed_at != null);
    const oldest = dated.sort((one, other) => one.committed_at - other.committed_at)[0];
    if (!oldest) {
      this.#set("checkpoint", NOTHING, "none yet");
      return;
    }
    const age = Math.max(0, now - oldest.committed_at);
    const took = oldest.duration_ms == null ? "" : `took ${duration(oldest.duration_ms / 1000)}`;
    this.#set("checkpoint", ago(age), took || "\u00a0", age > 120 ? "warn" : "");
  }

  #ingest(ingest, rates) {
    if (!ingest) {
      this.#set("ingest", NOTHING, "not by this process");
      return;
    }
    const shed = ingest.shedding ? `refusing: ${ingest.shedding}` : `${compact(ingest.accepted)} in all`;
    this.#set("ingest", perSecond(rates.of("accepted")), shed, ingest.shedding ? "bad" : "");
  }

  #set(name, value, note, state = "") {
    const tile = this.#tiles.get(name);
    write(tile.value, value);
    write(tile.note, note);
    if (tile.tile.dataset.state !== state) tile.tile.dataset.state = state;
  }
}

const perSecond = (value) => (value === null ? NOTHING : `${rate(value)}/s`);
const parts = (number) => (number === 1 ? "one partition" : `${count(number)} partitions`);
const sum = (jobs, of) => jobs.reduce((all, job) => all + (of(job) ?? 0), 0);
