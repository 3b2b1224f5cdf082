// A `weir up` of the test's own: on a free port, with a folder of its own, ended by its process id.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const PATIENCE_MS = 60_000;

export class Weir {
  #process = null;
  #log = "";

  /** `demo`: whether it posts clicks to itself. */
  static async start({ demo }) {
    const weir = new Weir();
    weir.demo = demo;
    weir.folder = await mkdtemp(join(tmpdir(), "weir-dashboard-"));
    weir.port = await freePort();
    weir.url = `http://127.0.0.1:${weir.port}`;
    await weir.begin();
    return weir;
  }

  /** Starts it, or starts it again where it was. */
  async begin() {
    const { folder, port, demo } = this;
    const options = [
      ...(demo ? ["--demo"] : []),
      "--data",
      join(folder, "data"),
      "-D",
      `ingest.listen=127.0.0.1:${port}`,
    ];
    this.#process = spawn(process.env.WEIR, ["up", ...options], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    this.#process.stderr.on("data", (text) => (this.#log += text));
    await until(
      "the job is ready",
      async () => (await this.ask("/v1/status")).jobs[0].ready,
      () => this.#log,
    );
    if (demo)
      await until(
        "ads are counted",
        async () => (await this.ask("/v1/top?window=1m&limit=10")).data.length >= 8,
        () => this.#log,
      );
  }

  async ask(path) {
    const answer = await fetch(this.url + path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async post(click) {
    const answer = await fetch(`${this.url}/v1/clicks`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(click),
    });
    if (!answer.ok) throw new Error(`the click was answered ${answer.status} ${await answer.text()}`);
  }

  async kill(signal = "SIGKILL") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    await ended;
  }

  async end() {
    await this.kill();
    await rm(this.folder, { recursive: true });
  }
}

/** Waits until `check` is true; what it throws counts as not yet. */
async function until(what, check, log) {
  const deadline = Date.now() + PATIENCE_MS;
  let last;
  while (Date.now() < deadline) {
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    await sleep(100);
  }
  throw new Error(`waited in vain until ${what}: ${last?.message ?? "it was not so"}\n${log().slice(-4000)}`);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
