// The top ads of the newest window. A click adds one to the chart, another removes it.

import { $, h, write, writeTime } from "./dom.js";
import { clock, count } from "./format.js";
import { colourClass } from "./palette.js";

const PLACES = 10;

export class Top {
  #list = $("top");
  #rows = new Map();
  #toggle;

  /** `toggle(ad)` is called for the ad that was clicked. */
  constructor(toggle) {
    this.#toggle = toggle;
    this.#list.style.setProperty("--places", PLACES);
  }

  show(answer, chosen) {
    const { text, utc } = clock(answer.timestamp);
    writeTime($("top-when"), {
      text: answer.timestamp == null ? "" : `${text} · ${answer.final ? "final" : "provisional"}`,
      utc,
    });
    const ads = answer.data.slice(0, PLACES);
    const most = Math.max(1, ...ads.map((ad) => ad.click_count));
    const steady = this.#isUsed() && ads.every((ad) => this.#rows.has(ad.ad_id));
    for (const [ad, row] of this.#rows) {
      if (ads.some((of) => of.ad_id === ad) || (this.#isUsed() && row.item.matches(":hover, :focus-within"))) continue;
      row.item.remove();
      this.#rows.delete(ad);
    }
    ads.forEach((of, index) => {
      const row = this.#rows.get(of.ad_id) ?? this.#make(of.ad_id);
      this.#fill(row, of, most, chosen.includes(of.ad_id));
      if (!steady && this.#list.children[index] !== row.item)
        this.#list.insertBefore(row.item, this.#list.children[index] ?? null);
    });
    $("known").replaceChildren(...ads.map((ad) => h("option", { value: ad.ad_id })));
  }

  /** Under a pointer or with the focus in it, the list keeps its order: nobody clicks on what has just moved. */
  #isUsed() {
    return this.#list.matches(":hover, :focus-within");
  }

  #make(ad) {
    const dot = h("i", { class: "dot", "aria-hidden": "true" });
    const clicks = h("span", { class: "figure" });
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    const button = h(
      "button",
      { type: "button", "aria-pressed": "false" },
      bar,
      dot,
      h("span", { class: "id" }, ad),
      clicks,
    );
    button.addEventListener("click", () => this.#toggle(ad));
    const row = { item: h("li", {}, button), button, dot, clicks, bar };
    this.#rows.set(ad, row);
    return row;
  }

  #fill(row, { ad_id: ad, click_count: clicks, unique_users: users }, most, isChosen) {
    write(row.clicks, count(clicks));
    const click = isChosen ? "Remove it from the chart" : "Add it to the chart";
    row.button.title = `${ad}: ${count(clicks)} clicks by ${count(users)} users. ${click}`;
    row.button.setAttribute("aria-pressed", String(isChosen));
    row.dot.className = `dot ${colourClass(ad)}`;
    row.bar.style.transform = `scaleX(${clicks / most})`;
  }

  /** Marks what is in the chart, between two answers. */
  mark(chosen) {
    for (const [ad, row] of this.#rows) {
      row.button.setAttribute("aria-pressed", String(chosen.includes(ad)));
      row.dot.className = `dot ${colourClass(ad)}`;
    }
  }
}
