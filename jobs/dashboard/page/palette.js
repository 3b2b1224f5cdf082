// Eight colours that stay apart for every kind of colour vision, and are seen on both grounds (at least 3 to 1).

const LIGHT = ["#0067b1", "#c24e00", "#00836b", "#b0388a", "#8a6d00", "#5b4bd1", "#8c4a32", "#56636b"];
const DARK = ["#5cb3ff", "#ff9a57", "#3fd0ab", "#f58fd0", "#dcc24c", "#a99dff", "#d59f80", "#aeb9c1"];

/** An ad keeps its colour for as long as it is chosen, whatever happens to the others. */
const slots = new Map();

export function choose(ads) {
  for (const ad of slots.keys()) if (!ads.includes(ad)) slots.delete(ad);
  for (const ad of ads) {
    if (slots.has(ad)) continue;
    const taken = new Set(slots.values());
    slots.set(
      ad,
      LIGHT.findIndex((_, slot) => !taken.has(slot)),
    );
  }
}

/** The class that gives an ad its colour, or none. */
export const colourClass = (ad) => (slots.has(ad) ? `colour-${slots.get(ad)}` : "");

export const colour = (ad) => (isDark() ? DARK : LIGHT)[slots.get(ad) ?? 0];

export function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
