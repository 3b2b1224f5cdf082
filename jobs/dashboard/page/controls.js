// The pickers above the chart, the times' zone and the theme.

import { $, h, keep, read, write } from "./dom.js";
import { inUtc, useUtc } from "./format.js";
import { RANGES, WINDOWS, fits } from "./address.js";

const SHOWN = { clicks: "Clicks", users: "Users" };
const WINDOW_NAMES = { "1m": "minute", "5m": "5 minutes", "1h": "hour" };

export const title = (view) => `${view.show === "users" ? "Unique users" : "Clicks"} per ${WINDOW_NAMES[view.window]}`;

/** Makes the pickers; `change(patch)` hears what was picked. */
export function controls(change) {
  segments("show", SHOWN, (show) => change({ show }));
  segments(
    "window",
    Object.fromEntries(Object.keys(WINDOWS).map((window) => [window, window.replace(/(\d)/, "$1 ")])),
    (window) => change({ window }),
  );
  const custom = customRange(change);
  segments("range", { ...RANGES, custom: "Custom…" }, (range) =>
    range === "custom" ? custom.open() : change({ range: { last: Number(range) } }),
  );
  // A radio button that is on already tells nothing when it is clicked again.
  $("range-custom").addEventListener("click", () => custom.open());
  $("region").addEventListener("change", () => change({ region: $("region").value || null }));

  return {
    show(view, regions) {
      $(`show-${view.show}`).checked = true;
      $(`window-${view.window}`).checked = true;
      for (const window of Object.keys(WINDOWS)) $(`window-${window}`).disabled = !fits(window, view.range);
      $(`range-${view.range.last ?? "custom"}`).checked = true;
      custom.view = view;
      write($("chart-title"), title(view));
      showRegions(regions, view.region);
    },
  };
}

function segments(id, choices, picked) {
  for (const [value, label] of Object.entries(choices)) {
    const input = h("input", { type: "radio", name: id, id: `${id}-${value}`, value });
    input.addEventListener("change", () => picked(value));
    $(id).append(input, h("label", { for: input.id }, label));
  }
}

function showRegions(regions, chosen) {
  const all = [...new Set([...regions, chosen].filter(Boolean))].sort();
  $("region-box").hidden = all.length === 0;
  const values = ["", ...all];
  if (values.join("\n") !== [...$("region").options].map((option) => option.value).join("\n")) {
    $("region").replaceChildren(...values.map((value) => h("option", { value }, value || "all")));
  }
  $("region").value = chosen ?? "";
}

function customRange(change) {
  const dialog = $("custom-dialog");
  const [start, end] = [$("custom-start"), $("custom-end")];
  const state = {
    view: null,
    open() {
      if (dialog.open) return;
      const { range } = state.view;
      const now = Math.floor(Date.now() / 1000);
      start.value = toInput(range.start ?? now - range.last);
      end.value = toInput(range.end ?? now);
      end.setCustomValidity("");
      write($("custom-zone"), inUtc() ? "Times are UTC." : "Times are your local time.");
      dialog.returnValue = "";
      dialog.showModal();
    },
  };
  for (const input of [start, end])
    input.addEventListener("input", () => {
      end.setCustomValidity(fromInput(start.value) < fromInput(end.value) ? "" : "The end must be after the start.");
    });
  $("custom-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "apply") change({ range: { start: fromInput(start.value), end: fromInput(end.value) } });
    else $(`range-${state.view.range.last ?? "custom"}`).checked = true;
  });
  return state;
}

/** Unix seconds as the value of an input, which knows no zones. */
function toInput(seconds) {
  const offset = inUtc() ? 0 : new Date(seconds * 1000).getTimezoneOffset() * 60;
  return new Date((seconds - offset) * 1000).toISOString().slice(0, 16);
}

const fromInput = (text) => Math.floor(Date.parse(inUtc() ? `${text}Z` : text) / 1000);

/** The two buttons of the header; `redraw` is called when all that is shown must be written again. */
export function preferences(redraw) {
  const zone = $("zone");
  const setZone = (utc) => {
    useUtc(utc);
    zone.setAttribute("aria-pressed", String(utc));
  };
  setZone(read(localStorage, "weir.zone") === "utc");
  zone.addEventListener("click", () => {
    setZone(!inUtc());
    keep(localStorage, "weir.zone", inUtc() ? "utc" : null);
    redraw();
  });

  const themes = ["auto", "light", "dark"];
  const root = document.documentElement;
  const name = () => {
    const theme = root.dataset.theme ?? "auto";
    write($("theme"), `◐ ${theme[0].toUpperCase()}${theme.slice(1)}`);
    $("theme").setAttribute("aria-label", `Theme: ${theme}`);
  };
  name();
  $("theme").addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % themes.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    keep(localStorage, "weir.theme", next === "auto" ? null : next);
    name();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
