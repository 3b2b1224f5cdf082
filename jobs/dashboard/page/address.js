// What is shown, as it stands in the address: whoever gets the link sees the same.
//
//   ?ad=A&ad=B&window=1m&last=3600&region=R&show=users      the newest hour
//   ?ad=A&window=5m&start=T1&end=T2                         a fixed range
//
// Without `ad` the page picks the top ads itself; an empty one means that there are none.

export const WINDOWS = { "1m": 60, "5m": 300, "1h": 3600 };
export const RANGES = { 900: "15 m", 3600: "1 h", 21_600: "6 h", 86_400: "24 h", 604_800: "7 d" };
export const MOST_ADS = 8;

/** More points than this in a line are neither seen nor worth sending. */
const MOST_POINTS = 2100;

/** The view that an address names; whatever it has wrong falls back to the default. */
export function parse(query) {
  const parameters = new URLSearchParams(query);
  const ads = parameters.has("ad") ? [...new Set(parameters.getAll("ad").filter(Boolean))].slice(0, MOST_ADS) : null;
  const start = instant(parameters.get("start"));
  const end = instant(parameters.get("end"));
  const last = Number(parameters.get("last"));
  return settle({
    ads,
    window: parameters.get("window") in WINDOWS ? parameters.get("window") : "1m",
    range: start !== null && end !== null && start < end ? { start, end } : { last: last in RANGES ? last : 900 },
    region: parameters.get("region") || null,
    show: parameters.get("show") === "users" ? "users" : "clicks",
  });
}

export function format(view) {
  const parameters = new URLSearchParams();
  for (const ad of view.ads?.length === 0 ? [""] : (view.ads ?? [])) parameters.append("ad", ad);
  parameters.set("window", view.window);
  for (const [name, value] of Object.entries(view.range)) parameters.set(name, value);
  if (view.region) parameters.set("region", view.region);
  if (view.show === "users") parameters.set("show", "users");
  return `?${parameters}`;
}

/** Whether a range in this window has a useful number of points. */
export const fits = (window, range) => {
  const points = span(range) / WINDOWS[window];
  return points >= 2 && points <= MOST_POINTS;
};

/** The view with the window nearest to the chosen one that fits the range. */
export function settle(view) {
  if (fits(view.window, view.range)) return view;
  const finer = Object.keys(WINDOWS).filter((window) => fits(window, view.range));
  const window = span(view.range) / WINDOWS[view.window] < 2 ? finer.at(-1) : finer[0];
  return { ...view, window: window ?? (span(view.range) < 3600 ? "1m" : "1h") };
}

const span = (range) => range.last ?? range.end - range.start;

/** The window starts of a view, from the first up to, not including, the last. */
export function bounds(view, now) {
  const width = WINDOWS[view.window];
  const { start = now - view.range.last, end = now } = view.range;
  return { start: Math.floor(start / width) * width, end: Math.ceil(end / width) * width };
}

function instant(text) {
  const seconds = text === null || text === "" ? NaN : Number(text);
  return Number.isSafeInteger(seconds) && seconds >= 0 ? seconds : null;
}
