// The page: what the address asks for, asked of the server every two seconds, and shown.
//
//   address ─▶ view ─▶ round: status, top, stats, uniques ─▶ chart, ads, top, vitals, health
//      ▲                                                        │ clicks
//      └────────────────────────── change ◀─────────────────────┘

import { Ads, dataTable } from "./ads.js";
import { Away, Refused, ask } from "./api.js";
import { MOST_ADS, WINDOWS, bounds, format, parse, settle } from "./address.js";
import { Chart } from "./chart.js";
import { Connection, askForKey, say, welcome } from "./connection.js";
import { controls, preferences, title } from "./controls.js";
import { $, write } from "./dom.js";
import { Health } from "./health.js";
import { choose, isDark } from "./palette.js";
import { poll } from "./poll.js";
import { Rates } from "./rates.js";
import { Points } from "./series.js";
import { Top } from "./top.js";
import { Vitals } from "./vitals.js";

/** How many ads are chosen where the address names none. */
const FIRST_ADS = 5;

/** Distinct users over a long range are dear, and move slowly. */
const UNIQUES_EVERY_MS = 10_000;

let view = parse(location.search);
let status = null;
let topAnswer = null;
let watermark = null;
let columns = { times: [], points: [] };
let hovered = null;
let uniquesAsked = { of: "", at: 0 };

const points = new Points();
const rates = new Rates();
const vitals = new Vitals();
const health = new Health();
const ads = new Ads({ remove: toggle, emphasize: (ad) => chart.emphasize(ad) });
const top = new Top(toggle);
const chart = new Chart($("plot"), { hover, zoom: (start, end) => change({ range: { start, end } }) });
const pickers = controls(change);

// ------------------------------------------------------------------------------------------------- changing the view

function change(patch, { replace = false } = {}) {
  view = settle({ ...view, ...patch });
  history[replace ? "replaceState" : "pushState"](null, "", format(view));
  showView();
  again();
}

function toggle(ad) {
  const chosen = view.ads ?? [];
  if (chosen.includes(ad)) {
    change({ ads: chosen.filter((other) => other !== ad) });
    say(`${ad} removed from the chart.`);
  } else {
    add(ad);
  }
}

function add(ad) {
  const chosen = view.ads ?? [];
  if (chosen.includes(ad)) return note(`${ad} is in the chart already.`);
  if (chosen.length >= MOST_ADS) return note(`${MOST_ADS} ads at most: remove one first.`);
  change({ ads: [...chosen, ad] });
  note("");
  say(`${ad} added to the chart.`);
  return true;
}

function note(text) {
  write($("add-note"), text);
  return false;
}

function showView() {
  choose(view.ads ?? []);
  ads.show(view.ads ?? []);
  pickers.show(
    view,
    (status?.jobs ?? []).map((job) => job.region),
  );
  top.mark(view.ads ?? []);
  draw();
}

// ------------------------------------------------------------------------------------------------------------ asking

async function round() {
  const of = view;
  const [aboutStatus, aboutTop] = await Promise.allSettled([
    ask("/v1/status"),
    ask("/v1/top", { window: of.window, region: of.region, limit: 10 }),
  ]);
  takeStatus(aboutStatus);
  takeTop(aboutTop);
  const aboutStats = of === view && view.ads?.length > 0 ? await stats(view) : [];
  const outcomes = [aboutStatus, aboutTop, ...aboutStats];
  return settleRound(outcomes);
}

function settleRound(outcomes) {
  const failures = outcomes.filter((outcome) => outcome.status === "rejected").map((outcome) => outcome.reason);
  const refused = failures.find((failure) => failure instanceof Refused && failure.status === 401);
  if (refused) askForKey(refused.message, again);
  const away = failures.find((failure) => failure instanceof Away);
  if (away) connection.away(away.message);
  else connection.answered(status);
  for (const failure of failures) if (!(failure instanceof Away || failure instanceof Refused)) throw failure;
  return !away;
}

async function stats(of) {
  const now = status?.now ?? Math.floor(Date.now() / 1000);
  const { start, end } = bounds(of, now);
  const { ads: ad_id, window, region } = of;
  const from = points.from(ad_id, start, `${window} ${region}`);
  const asked = ask("/v1/stats", { ad_id, window, start: from, end, fill: "zero", region });
  const [outcome] = await Promise.allSettled([asked]);
  if (of !== view) return [];
  trouble("chart-trouble", outcome);
  if (outcome.status === "rejected") return [outcome];
  points.take(outcome.value, ad_id, from, end);
  watermark = outcome.value.watermark;
  draw();
  return [outcome, ...(await uniques(of, start, end))];
}

async function uniques(of, start, end) {
  const key = JSON.stringify([of.ads, of.region, of.range, of.window]);
  if (uniquesAsked.of === key && Date.now() - uniquesAsked.at < UNIQUES_EVERY_MS) return [];
  const outcomes = await Promise.allSettled(
    of.ads.map((ad_id) => ask("/v1/uniques", { ad_id, start, end, region: of.region })),
  );
  if (of !== view) return outcomes;
  uniquesAsked = { of: key, at: Date.now() };
  outcomes.forEach((outcome, index) => ads.uniques(of.ads[index], outcome.value?.unique_users));
  return outcomes;
}

function takeStatus(outcome) {
  trouble("status-trouble", outcome);
  if (outcome.status === "rejected") return;
  status = outcome.value;
  takeCounters(status);
  vitals.show(status, rates);
  health.show(status, rates);
  pickers.show(
    view,
    status.jobs.map((job) => job.region),
  );
  write($("version"), `Weir ${status.version}`);
}

/** The jobs' totals are those of their newest checkpoints. */
function takeCounters({ now, jobs, ingest }) {
  const counted = jobs.reduce((all, job) => all + job.totals.counted, 0);
  rates.take(now, { counted }, Math.max(0, ...jobs.map((job) => job.checkpoint?.committed_at ?? now)));
  if (ingest) rates.take(now, { accepted: ingest.accepted, duplicate: ingest.duplicate, rejected: ingest.rejected });
}

function takeTop(outcome) {
  trouble("top-trouble", outcome);
  if (outcome.status === "rejected") return;
  topAnswer = outcome.value;
  if (view.ads === null && topAnswer.data.length > 0) {
    change({ ads: topAnswer.data.slice(0, FIRST_ADS).map((ad) => ad.ad_id) }, { replace: true });
  }
  top.show(topAnswer, view.ads ?? []);
  const idle =
    status !== null &&
    topAnswer.data.length === 0 &&
    view.ads === null &&
    status.jobs.every((job) => job.totals.read === 0);
  $("welcome").hidden = !idle;
  $("counts").hidden = idle;
}

/** Shows what the server has against a question, in its own words. */
function trouble(id, outcome) {
  const refusal = outcome.reason instanceof Refused && outcome.reason.status !== 401 ? outcome.reason.message : "";
  $(id).hidden = refusal === "";
  write($(id), refusal);
}

// ----------------------------------------------------------------------------------------------------------- showing

function draw() {
  const chosen = view.ads ?? [];
  const now = status?.now ?? Math.floor(Date.now() / 1000);
  const { start, end } = bounds(view, now);
  columns = points.columns(chosen, start, end, watermark);
  const field = view.show === "users" ? "unique_users" : "click_count";
  chart.show({ ads: chosen, ...columns, range: [start, end], field, endedAt: endedAt(), dark: isDark() });
  ads.totals(chosen, columns.points);
  moment();
  $("partial").hidden = !(points.partial || topAnswer?.partial);
  $("plot").setAttribute("aria-label", `${title(view)}: ${chosen.join(", ") || "no ads are chosen"}`);
  if ($("data").open) dataTable($("data-table"), chosen, columns, { field, title: title(view) });
}

/** Windows that begin later are still being counted. */
function endedAt() {
  return watermark === null ? Infinity : watermark - WINDOWS[view.window];
}

function hover(index) {
  hovered = index;
  moment();
}

/** Under the cursor; without one, the newest window that has ended. */
function moment() {
  const { times, points: of } = columns;
  const index = hovered !== null && hovered < times.length ? hovered : newest(times);
  ads.moment(
    view.ads ?? [],
    times[index],
    of.map((values) => values[index]),
    hovered !== null,
  );
}

function newest(times) {
  const ended = times.findLastIndex((time) => time <= endedAt());
  return ended < 0 ? times.length - 1 : ended;
}

// ---------------------------------------------------------------------------------------------------------- the start

preferences(() => {
  if (status) {
    vitals.show(status, rates);
    health.show(status, rates);
  }
  if (topAnswer) top.show(topAnswer, view.ads ?? []);
  draw();
});
welcome();
addEventListener("popstate", () => {
  view = parse(location.search);
  showView();
  again();
});
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const ad = $("ad").value.trim();
  if (ad !== "" && add(ad)) $("ad").value = "";
});
$("data").addEventListener("toggle", draw);

const connection = new Connection(() => again());
showView();
const again = poll(round, (wait) => connection.waits(wait));
