// Chromium, and pages in it that notice what must not happen: errors, and requests to other servers.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { WEIR_TEST_BROWSER, WEIR_TEST_CHROMIUM, WEIR_TEST_SCREENSHOTS } = process.env;
const require = createRequire(`${WEIR_TEST_BROWSER}/`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const QUIET = [
  "disable-background-networking",
  "disable-component-update",
  "disable-gpu",
  "disable-quic",
  "disable-sync",
  "no-first-run",
];

export const launch = () =>
  chromium.launch({
    executablePath: WEIR_TEST_CHROMIUM,
    args: ["--no-sandbox", ...QUIET.map((option) => `--${option}`)],
  });

/** A page of a browser that has seen nothing yet. `page.troubles` is what went wrong in it. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.troubles = [];
  page.on("console", (message) => message.type() === "error" && page.troubles.push(message.text()));
  page.on("pageerror", (error) => page.troubles.push(error.stack));
  page.on("request", (request) => {
    const other = new URL(request.url());
    if (other.origin !== new URL(url).origin && !["data:", "blob:"].includes(other.protocol))
      page.troubles.push(`request to ${other}`);
  });
  await page.goto(url);
  return page;
}

/** Closes a page that must have had no trouble. */
export async function close(page) {
  assert.deepEqual(page.troubles, []);
  await page.context().close();
}

/** What axe finds against WCAG 2.2 AA: must be nothing. The debugger puts it in, so that the page's policy stays. */
export async function checkAccessibility(page, state) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }),
  );
  const found = violations.map(
    ({ help, nodes }) => `${help}: ${nodes.map(({ target }) => target).join(", ")}\n  ${nodes[0].failureSummary}`,
  );
  if (found.length > 0) assert.fail(`${state} is not accessible:\n${found.join("\n")}`);
}

export const screenshot = (page, name) =>
  page.screenshot({ path: join(WEIR_TEST_SCREENSHOTS, `${name}.png`), fullPage: true, animations: "disabled" });
