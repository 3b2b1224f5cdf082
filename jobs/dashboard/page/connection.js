// Whether the server answers, said in three places: the pulse in the header, a toast while it is away, and to screen
// readers, once each time it changes.

import { $, write } from "./dom.js";
import { clock, duration } from "./format.js";
import { useKey } from "./api.js";

export class Connection {
  #state = "wait";
  #lastAnswer = null;
  #retryAt = null;

  /** `retry()` is called when someone does not want to wait. */
  constructor(retry) {
    $("retry").addEventListener("click", retry);
    addEventListener("online", retry);
    setInterval(() => this.#tick(), 1000);
  }

  answered(status) {
    if (this.#state === "away") say("Weir answers again.");
    this.#lastAnswer = Date.now() / 1000;
    const restoring = status?.jobs.some((job) => !job.ready);
    this.#set(restoring ? "warn" : "live", restoring ? "Restoring its state" : "Live");
  }

  away(reason) {
    if (this.#state !== "away") say("Weir does not answer. Trying again.");
    this.#reason = reason;
    this.#set("away", "No answer");
    this.#tick();
  }

  #reason = "";

  waits(milliseconds) {
    this.#retryAt = Date.now() + milliseconds;
    this.#tick();
  }

  #set(state, text) {
    this.#state = state;
    $("pulse").dataset.state = state;
    write($("pulse-text"), text);
    $("toast").hidden = state !== "away";
    document.body.dataset.connection = state;
  }

  #tick() {
    if (this.#state !== "away") return;
    const seen = this.#lastAnswer === null ? "" : ` What you see is from ${clock(this.#lastAnswer, "second").text}.`;
    const left = Math.max(0, Math.ceil(((this.#retryAt ?? 0) - Date.now()) / 1000));
    const next = left > 0 ? ` Next try in ${duration(left)}.` : " Trying now.";
    const why = this.#reason === "no answer" ? "Weir does not answer." : `Weir cannot answer now: ${this.#reason}.`;
    write($("toast-text"), `${why.replace(/\.+$/, ".")}${seen}${next}`);
  }
}

/** Says something to screen readers. */
export const say = (text) => write($("spoken"), text);

/** Asks for an API key, and calls `then` with it kept. */
export function askForKey(detail, then) {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  write($("key-detail"), detail);
  $("key").value = "";
  dialog.addEventListener(
    "close",
    () => {
      const key = $("key").value.trim();
      useKey(key === "" ? null : key);
      then();
    },
    { once: true },
  );
  dialog.showModal();
}

/** The command that posts the first click. */
export function welcome() {
  const command = [
    "curl -H 'content-type: application/json' \\",
    `  -d '{"ad_id":"first","user_id":"you","timestamp":'$(date +%s)'}' \\`,
    `  ${location.origin}/v1/clicks`,
  ].join("\n");
  write($("curl"), command);
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      write($("copy"), "Copied");
    } catch {
      // Without a secure context there is no clipboard: it is selected instead.
      getSelection().selectAllChildren($("curl"));
      write($("copy"), "Selected");
    }
    setTimeout(() => write($("copy"), "Copy"), 2000);
  });
}
