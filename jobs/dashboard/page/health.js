// How the jobs, ingest and the tiers are doing: one card each.

import { $, h, write, writeTime } from "./dom.js";
import { NOTHING, ago, bytes, clock, count, duration, rate, share } from "./format.js";

const OUTCOMES = {
  counted: "in its window",
  duplicate: "seen before, not counted again",
  late: "after its window had closed; kept aside",
  future: "too far ahead of the clock; kept aside",
  rejected: "not a click; in the dead letters",
};

const TIERS = {
  hot: "in memory",
  warm: "ClickHouse",
  cold: "Delta tables",
};

let made = 0;

export class Health {
  #cards = new Map();

  show(status, rates) {
    const wanted = new Map();
    for (const job of status.jobs) {
      const name = [job.name, job.region].filter(Boolean).join(" · ");
      const suffix = status.jobs.length > 1 ? ` · ${name}` : "";
      wanted.set(`records ${name}`, [
        `Where the records went${suffix}`,
        "ledgers",
        makeLedger,
        (card) => fillLedger(card, job),
      ]);
      wanted.set(`job ${name}`, [`Job ${name}`, "health", makeFacts, (card) => fillJob(card, job, status.now)]);
    }
    wanted.set("ingest", ["Ingest", "health", makeFacts, (card) => fillIngest(card, status.ingest, rates)]);
    wanted.set("tiers", ["Answers come from", "health", makeFacts, (card) => fillTiers(card, status.tiers ?? [])]);

    for (const [key, card] of this.#cards) {
      if (wanted.has(key)) continue;
      card.box.remove();
      this.#cards.delete(key);
    }
    for (const [key, [title, place, make, fill]] of wanted) {
      const card = this.#cards.get(key) ?? this.#make(key, title, place, make);
      write(card.title, title);
      fill(card);
    }
  }

  #make(key, title, place, make) {
    const id = `card-${(made += 1)}`;
    const card = { title: h("h2", { id }, title), badge: h("span", { class: "badge" }), ...make() };
    card.box = h(
      "section",
      { class: "card", "aria-labelledby": id },
      h("header", { class: "head" }, card.title, card.badge),
      ...card.content,
    );
    this.#cards.set(key, card);
    $(place).append(card.box);
    return card;
  }
}

function badge(card, text, state) {
  write(card.badge, text);
  card.badge.dataset.state = state;
}

// ------------------------------------------------------------------------------------------------------- the ledger

function makeLedger() {
  const figures = new Map();
  const bar = h("div", { class: "ledger", "aria-hidden": "true" });
  const list = h("dl", { class: "facts" });
  for (const [outcome, meaning] of Object.entries(OUTCOMES)) {
    const part = h("i", { class: outcome });
    const value = h("span", { class: "figure" });
    const portion = h("span", { class: "portion figure" });
    bar.append(part);
    list.append(
      h("dt", { title: meaning }, h("i", { class: `dot ${outcome}`, "aria-hidden": "true" }), outcome),
      h("dd", {}, value, portion),
    );
    figures.set(outcome, { part, value, portion });
  }
  const read = h("span", { class: "figure" });
  list.append(h("dt", { class: "sum" }, "read"), h("dd", { class: "sum" }, read, h("span", { class: "portion" })));
  return { figures, read, content: [bar, list] };
}

/** Each record that was read ends in exactly one place; here one sees it. */
function fillLedger(card, { totals }) {
  let sum = 0;
  for (const [outcome, { part, value, portion }] of card.figures) {
    const records = totals[outcome] ?? 0;
    sum += records;
    part.style.flexGrow = String(records);
    part.hidden = records === 0;
    write(value, count(records));
    write(portion, share(records, totals.read));
  }
  write(card.read, count(totals.read));
  if (sum === totals.read) badge(card, "adds up", "good");
  else badge(card, `${count(Math.abs(totals.read - sum))} apart`, "bad");
}

// --------------------------------------------------------------------------------------------------- names and values

function makeFacts() {
  return {
    facts: new Map(),
    list: h("dl", { class: "facts" }),
    get content() {
      return [this.list];
    },
  };
}

/** One line of a card; `state` puts a coloured dot before its name. */
function fact(card, name, value, { note = "", state = null, title = "" } = {}) {
  let line = card.facts.get(name);
  if (!line) {
    line = {
      dot: h("i", { class: "dot", "aria-hidden": "true" }),
      value: h("span", { class: "figure" }),
      note: h("span", { class: "muted" }),
    };
    line.name = h("dt", {}, ...(state === null ? [] : [line.dot]), name);
    card.list.append(line.name, h("dd", {}, line.note, line.value));
    card.facts.set(name, line);
  }
  if (state !== null) line.dot.dataset.state = state;
  write(line.note, note);
  writeTime(line.value, { text: value, utc: title });
}

function fillJob(card, job, now) {
  badge(card, job.ready ? "running" : "restoring", job.ready ? "good" : "warn");
  const checkpoint = job.checkpoint ?? {};
  const { text, utc } = clock(checkpoint.committed_at, "second");
  fact(card, "checkpoint", text, {
    title: utc,
    note: checkpoint.committed_at == null ? "" : ago(now - checkpoint.committed_at),
  });
  fact(card, "took", checkpoint.duration_ms == null ? NOTHING : duration(checkpoint.duration_ms / 1000));
  fact(card, "wrote", bytes(checkpoint.bytes));
  fact(card, "state", bytes(checkpoint.state_bytes));
  fact(card, "epoch", count(job.epoch), {
    note: checkpoint.epoch == null ? "" : `${count(checkpoint.epoch)} committed`,
  });
  fact(card, "attempt", count(checkpoint.attempt), { note: restarts(checkpoint.attempt) });
}

function restarts(attempt) {
  if (!(attempt > 1)) return "";
  return attempt === 2 ? "one restart" : `${count(attempt - 1)} restarts`;
}

function fillIngest(card, ingest, rates) {
  if (!ingest) {
    badge(card, "elsewhere", "");
    fact(card, "accepted", NOTHING);
    return;
  }
  badge(card, ingest.shedding ? `refusing: ${ingest.shedding}` : "taking clicks", ingest.shedding ? "bad" : "good");
  for (const name of ["accepted", "duplicate", "rejected"]) {
    const now = rates.of(name);
    fact(card, name, count(ingest[name]), { note: now === null ? "" : `${rate(now)}/s` });
  }
}

function fillTiers(card, tiers) {
  const states = { ok: "good", absent: "off" };
  const words = { ok: "ok", absent: "not set up" };
  const broken = tiers.filter(({ state }) => !(state in states));
  badge(
    card,
    broken.length === 0 ? "all reachable" : `${broken.map(({ tier }) => tier).join(", ")} away`,
    broken.length === 0 ? "good" : "bad",
  );
  for (const { tier, state, from } of tiers) {
    const { text, utc } = clock(from);
    const note = `${TIERS[tier] ?? ""}${from == null ? "" : ` from ${text} on`}`;
    fact(card, tier, words[state] ?? state, { note, state: states[state] ?? "bad", title: utc });
  }
}
