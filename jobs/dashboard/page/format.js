// Numbers, times and durations, as people of the browser's locale write them.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 });

export const NOTHING = "–";

export const count = (value) => (value == null ? NOTHING : whole.format(value));
export const compact = (value) =>
  value == null ? NOTHING : value < 100_000 ? whole.format(value) : short.format(value);

/** A part of all. What is there is never shown as nothing. */
export function share(part, all) {
  if (!(all > 0)) return NOTHING;
  return part > 0 && part / all < 0.0001 ? `<${percent.format(0.0001)}` : percent.format(part / all);
}

/** Something a second: with a tenth where that says more. */
export const rate = (value) =>
  value == null ? NOTHING : value > 0 && value < 10 ? tenths.format(value) : compact(value);

export function bytes(value) {
  if (value == null) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit > 0 && value < 100 ? tenths.format(value) : whole.format(value)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds == null) return NOTHING;
  if (seconds < 1) return `${whole.format(seconds * 1000)} ms`;
  if (seconds < 120) return `${whole.format(seconds)} s`;
  if (seconds < 7200) return `${whole.format(seconds / 60)} min`;
  if (seconds < 172_800) return `${tenths.format(seconds / 3600)} h`;
  return `${whole.format(seconds / 86_400)} days`;
}

/** How long ago something was. */
export const ago = (seconds) => (seconds < 1 ? "now" : `${duration(seconds)} ago`);

let utc = false;
let formats = makeFormats();

/** Shows times in UTC, or in the browser's zone. */
export function useUtc(chosen) {
  utc = chosen;
  formats = makeFormats();
}

export const inUtc = () => utc;

function makeFormats() {
  const zone = utc ? { timeZone: "UTC" } : {};
  const make = (options) => new Intl.DateTimeFormat(undefined, { ...options, ...zone });
  return {
    minute: make({ hour: "2-digit", minute: "2-digit" }),
    second: make({ hour: "2-digit", minute: "2-digit", second: "2-digit" }),
    day: make({ day: "numeric", month: "short" }),
    dayMinute: make({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }),
    date: make({ year: "numeric", month: "2-digit", day: "2-digit" }),
  };
}

const at = (seconds) => new Date(seconds * 1000);

export const utcText = (seconds) => `${at(seconds).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** A time as `{ text, utc }`: with the day where it is not today. */
export function clock(seconds, kind = "minute") {
  if (seconds == null) return { text: NOTHING, utc: "" };
  const today = formats.date.format(at(seconds)) === formats.date.format(Date.now());
  const text = (today || kind !== "minute" ? formats[kind] : formats.dayMinute).format(at(seconds));
  return { text, utc: utcText(seconds) };
}

/** Labels of a time axis: the day where one begins, or where a label is a whole day apart from the next. */
export function axisLabels(splits, apart) {
  let before = null;
  return splits.map((seconds) => {
    const day = formats.day.format(at(seconds));
    const isNew = before !== null && before !== day;
    before = day;
    return apart >= 86_400 || isNew ? day : formats.minute.format(at(seconds));
  });
}
