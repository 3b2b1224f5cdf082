// The chosen ads: what the lines mean, their values under the cursor, and over the whole range.

import { $, h, write, writeTime } from "./dom.js";
import { NOTHING, clock, count } from "./format.js";
import { colourClass } from "./palette.js";

export class Ads {
  #rows = new Map();
  #on;

  /** `on.remove(ad)` and `on.emphasize(ad | null)`. */
  constructor(on) {
    this.#on = on;
  }

  /** One row an ad, in their order. */
  show(ads) {
    for (const [ad, row] of this.#rows) {
      if (ads.includes(ad)) continue;
      row.line.remove();
      this.#rows.delete(ad);
    }
    ads.forEach((ad, index) => {
      const row = this.#rows.get(ad) ?? this.#make(ad);
      const dot = `dot ${colourClass(ad)}`;
      if (row.dot.className !== dot) row.dot.className = dot;
      if ($("ads").children[index] !== row.line) $("ads").insertBefore(row.line, $("ads").children[index] ?? null);
    });
    const empty = $("no-ads");
    if (ads.length > 0) empty?.remove();
    else if (!empty)
      $("ads").append(
        h(
          "tr",
          { id: "no-ads" },
          h("td", { colSpan: 6, class: "muted" }, "Choose an ad from the list of top ads, or add one below."),
        ),
      );
  }

  #make(ad) {
    const dot = h("i", { "aria-hidden": "true" });
    const cells = ["now-clicks", "now-users", "all-clicks", "all-users"].map((name) => [
      name,
      h("td", { class: `figure ${name}` }, NOTHING),
    ]);
    const remove = h("button", { type: "button", class: "remove", title: "Remove", "aria-label": `Remove ${ad}` }, "×");
    const line = h(
      "tr",
      {},
      h("th", { scope: "row" }, dot, h("span", { class: "id", title: ad }, ad)),
      ...cells.map(([, cell]) => cell),
      h("td", {}, remove),
    );
    remove.addEventListener("click", () => this.#on.remove(ad));
    for (const [event, who] of [
      ["pointerenter", ad],
      ["pointerleave", null],
      ["focusin", ad],
      ["focusout", null],
    ]) {
      line.addEventListener(event, () => this.#on.emphasize(who));
    }
    const row = { line, dot, ...Object.fromEntries(cells) };
    this.#rows.set(ad, row);
    return row;
  }

  /** The values of one moment: of the window that begins at `time`, final or not. */
  moment(ads, time, points, hovered) {
    const open = points.some((point) => point && !point.final);
    const { text, utc } = clock(time);
    const state = hovered ? (open ? " · provisional" : " · final") : " · newest";
    writeTime($("moment"), { text: time == null ? NOTHING : `${text}${state}`, utc });
    ads.forEach((ad, index) => {
      const row = this.#rows.get(ad);
      if (!row) return;
      write(row["now-clicks"], count(points[index]?.click_count));
      write(row["now-users"], count(points[index]?.unique_users));
    });
  }

  /** The sums over the range. */
  totals(ads, points) {
    ads.forEach((ad, index) => {
      const sum = points[index].reduce((all, point) => all + (point?.click_count ?? 0), 0);
      const row = this.#rows.get(ad);
      if (row) write(row["all-clicks"], count(sum));
    });
  }

  /** The distinct users over the range, or nothing where they are not known (any more). */
  uniques(ad, users) {
    const row = this.#rows.get(ad);
    if (row) write(row["all-users"], count(users));
  }
}

/** The chart's data as a table, newest first. */
export function dataTable(table, ads, { times, points }, unit) {
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "Window"),
    ...ads.map((ad) => h("th", { scope: "col" }, ad)),
    h("th", { scope: "col" }, "State"),
  );
  const lines = times.map((time, index) => {
    const open = points.some((of) => of[index] && !of[index].final);
    const { text, utc } = clock(time);
    const cells = points.map((of) => h("td", { class: "figure" }, count(of[index]?.[unit.field])));
    return h(
      "tr",
      {},
      h("th", { scope: "row", title: utc }, text),
      ...cells,
      h("td", { class: "muted" }, open ? "provisional" : "final"),
    );
  });
  table.replaceChildren(
    h("caption", { class: "unseen" }, unit.title),
    h("thead", {}, head),
    h("tbody", {}, ...lines.reverse()),
  );
}
