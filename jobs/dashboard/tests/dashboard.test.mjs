// The dashboard in a real Chromium, on a real `weir up --demo`. scripts/test runs it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { checkAccessibility, close, launch, open, screenshot } from "./browser.mjs";
import { Weir } from "./weir.mjs";

let weir;
let browser;

before(async () => {
  [weir, browser] = await Promise.all([Weir.start({ demo: true }), launch()]);
});

after(async () => {
  await browser?.close();
  await weir?.end();
});

const rows = (page) => page.locator("#ads tr th .id").allTextContents();
const ready = (page) => page.locator("#ads tr .all-users").filter({ hasText: /\d/ }).first().waitFor();
const parameters = (page) => new URL(page.url()).searchParams;

/** Waits until `ask` answers what is expected. */
async function comesTo(ask, expected, patience = 5000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    try {
      return assert.deepEqual(answer, expected);
    } catch (difference) {
      if (Date.now() > deadline) throw difference;
      await sleep(50);
    }
  }
}

/** A dashboard that shows counts. */
async function dashboard(query = "", options = {}) {
  const page = await open(browser, `${weir.url}/${query}`, options);
  await ready(page);
  return page;
}

test("it shows the top ads, what is counted, and how the job is doing", async () => {
  const page = await dashboard();
  assert.equal((await rows(page)).length, 5);
  assert.deepEqual(parameters(page).getAll("ad"), await rows(page));
  await page
    .locator(".tile .value", { hasText: /^[\d.,]+\/s$/ })
    .first()
    .waitFor();
  await page.locator("#pulse[data-state=live]").waitFor();
  await page.getByText("adds up").waitFor();
  await page.locator(".tile", { hasText: "Counted" }).locator(".value", { hasText: "/s" }).waitFor({ timeout: 40_000 });
  await screenshot(page, "light");
  await checkAccessibility(page, "light");
  await close(page);
});

test("its figures are the server's", async () => {
  const first = await dashboard("?last=900");
  const ad = (await rows(first))[0];
  await close(first);
  // The demo's first minute is final two minutes after its start at the latest.
  await comesTo(async () => {
    const { now } = await weir.ask("/v1/status");
    const { data } = await weir.ask(
      `/v1/stats?ad_id=${encodeURIComponent(ad)}&window=1m&start=${now - 900}&end=${now + 60}`,
    );
    return data.some((point) => point.final);
  }, true, 150_000);
  const page = await dashboard(`?last=900&ad=${encodeURIComponent(ad)}`);
  await page.locator("#data summary").click();
  const shown = await page
    .locator("#data-table tbody tr")
    .evaluateAll((lines) =>
      lines.map((line) => [line.cells[0].title, line.cells[1].textContent, line.lastChild.textContent]),
    );
  const status = await weir.ask("/v1/status");
  const { data } = await weir.ask(
    `/v1/stats?ad_id=${encodeURIComponent(ad)}&window=1m&start=${status.now - 900}&end=${status.now + 60}&fill=zero`,
  );
  const final = shown.filter(([, , state]) => state === "final");
  for (const [utc, clicks] of final) {
    const time = Date.parse(utc.replace(" UTC", "Z").replace(" ", "T")) / 1000;
    const point = data.find(({ timestamp }) => timestamp === time);
    if (point) assert.equal(Number(clicks.replaceAll(",", "")), point.click_count, utc);
  }
  assert.ok(final.length > 0);
  await close(page);
});

test("an ad of the top list is added and removed by clicks, and the back button goes back", async () => {
  const page = await dashboard();
  const before = await rows(page);
  const button = page.locator("#top button[aria-pressed=false]").first();
  const ad = await button.locator(".id").textContent();
  await button.click();
  await page.locator("#ads tr", { hasText: ad }).waitFor();
  await comesTo(() => parameters(page).getAll("ad"), [...before, ad]);
  await page.getByRole("button", { name: `Remove ${before[0]}` }).click();
  await comesTo(() => rows(page), [...before.slice(1), ad]);
  await page.goBack();
  await comesTo(() => rows(page), [...before, ad]);
  await page.goBack();
  await comesTo(() => rows(page), before);
  await close(page);
});

test("any ad can be added by its id, markup included, and eight are the most", async () => {
  const page = await dashboard("?ad=none-such");
  for (const id of ["<b>bold</b>", "a&b=c d", "ü".repeat(128), "4", "5", "6", "7"]) {
    await page.getByLabel("Ad id").fill(id);
    await page.keyboard.press("Enter");
  }
  await comesTo(async () => (await rows(page)).length, 8);
  assert.equal((await rows(page))[1], "<b>bold</b>");
  await page.getByLabel("Ad id").fill("one too many");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByText("8 ads at most").waitFor();
  await page.reload();
  await ready(page);
  assert.deepEqual((await rows(page)).slice(1, 3), ["<b>bold</b>", "a&b=c d"]);
  await close(page);
});

test("window, range and what is shown are in the address, and there again after a reload", async () => {
  const page = await dashboard();
  const ads = await rows(page);
  await page.locator("#window").getByText("5 m").click();
  await page.locator("#range").getByText("6 h").click();
  await page.locator("#show").getByText("Users").click();
  const query = parameters(page);
  assert.deepEqual(
    ["window", "last", "show"].map((name) => query.get(name)),
    ["5m", "21600", "users"],
  );
  await page.reload();
  await ready(page);
  assert.deepEqual(await rows(page), ads);
  await page.getByRole("heading", { name: "Unique users per 5 minutes" }).waitFor();
  assert.ok(await page.locator("#range-21600").isChecked());
  // A week of minutes is more than a line can show: the window that fits is taken.
  await page.locator("#range").getByText("7 d").click();
  assert.equal(parameters(page).get("last"), "604800");
  assert.ok(await page.locator("#window-1m").isDisabled());
  await close(page);
});

test("a range of one's own is picked in a dialog, or by dragging over the chart", async () => {
  const page = await dashboard("?last=3600");
  await page.locator("#range").getByText("Custom…").click();
  await page.getByRole("dialog").getByLabel("From").fill("2026-01-01T10:00");
  await page.getByRole("dialog").getByLabel("To").fill("2026-01-01T12:00");
  await page.getByRole("button", { name: "Show" }).click();
  await comesTo(() => parameters(page).get("end") - parameters(page).get("start"), 7200);
  await page.goBack();
  await comesTo(() => parameters(page).get("last"), "3600");
  const { x, y, width, height } = await page.locator("#plot .u-over").boundingBox();
  await page.mouse.move(x + width * 0.4, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width * 0.7, y + height / 2, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/start=/);
  const zoomed = parameters(page);
  const seconds = zoomed.get("end") - zoomed.get("start");
  assert.ok(seconds > 900 && seconds < 1300, `${seconds} s of an hour`);
  await close(page);
});

test("dark is as the system says, or as it was chosen, also after a reload", async () => {
  const page = await dashboard("", { colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await screenshot(page, "dark");
  await checkAccessibility(page, "dark");
  await page.locator("#theme").click();
  assert.notEqual(await ground(), dark);
  await page.reload();
  await ready(page);
  assert.notEqual(await ground(), dark);
  await page.locator("#theme").click();
  assert.equal(await ground(), dark);
  await close(page);
});

test("everything is reached and seen with the keyboard alone", async () => {
  const page = await dashboard();
  const reached = [];
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const element = document.activeElement;
      const seen = element.type === "radio" ? element.nextElementSibling : element;
      const { outlineStyle } = getComputedStyle(seen);
      return {
        name: element.id || element.getAttribute("aria-label") || element.textContent.trim(),
        isSeen: outlineStyle !== "none" || element.matches(".skip"),
        isBody: element === document.body,
      };
    });
    if (stop.isBody) break;
    assert.ok(stop.isSeen, `no focus is seen on ${stop.name}`);
    reached.push(stop.name);
  }
  const expected = [
    "Skip to the counts",
    "zone",
    "theme",
    "show-clicks",
    "window-1m",
    "range-900",
    "plot",
    "ad",
    ...(await rows(page)).map((ad) => `Remove ${ad}`),
  ];
  for (const name of expected)
    assert.ok(reached.includes(name), `${name} is not reached by Tab: ${reached.join(", ")}`);
  assert.equal(reached.filter((name) => /^ad/.test(name)).length > 5, true, reached.join(", "));

  await page.locator("#window-1m").focus();
  await page.keyboard.press("ArrowRight");
  await comesTo(() => parameters(page).get("window"), "5m");
  await page.keyboard.press("ArrowLeft");
  await page.locator("#moment", { hasText: "newest" }).waitFor();
  await page.locator("#plot").focus();
  await page.keyboard.press("ArrowLeft");
  const there = await page.locator("#moment").textContent();
  await page.keyboard.press("Home");
  const first = await page.locator("#moment").textContent();
  assert.ok(first !== there && /final|provisional/.test(first), `${first}, ${there}`);
  const button = page.locator("#top button[aria-pressed=false]").first();
  const ad = await button.locator(".id").textContent();
  await button.focus();
  await page.keyboard.press("Space");
  assert.ok((await rows(page)).includes(ad));
  await page.waitForFunction((name) => document.querySelector("#spoken").textContent.includes(name), ad);
  await close(page);
});

test("a phone shows all of it without scrolling sideways", async () => {
  const page = await dashboard("", { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 360);
  await screenshot(page, "phone");
  await checkAccessibility(page, "phone");
  await close(page);
});

test("nothing moves while it updates, and nothing is animated for those who want that", async () => {
  const page = await dashboard("", { reducedMotion: "reduce" });
  // Ads that overtake each other change places in the list of top ads; apart from those nothing goes up or down.
  const moved = await page.evaluate(
    () =>
      new Promise((done) => {
        const seen = [];
        new PerformanceObserver((list) => {
          for (const { node, previousRect, currentRect } of list.getEntries().flatMap((entry) => entry.sources)) {
            const element = node?.parentElement?.closest("*");
            if (previousRect.top !== currentRect.top && !element?.closest("#top")) seen.push(element?.outerHTML);
          }
        }).observe({ type: "layout-shift" });
        setTimeout(() => done(seen), 7000);
      }),
  );
  assert.deepEqual(moved, []);
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await close(page);
});

test("a hidden tab asks nothing", async () => {
  const page = await dashboard();
  const hide = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await hide(true);
  await sleep(2500);
  let asked = 0;
  page.on("request", () => (asked += 1));
  await sleep(4500);
  assert.equal(asked, 0);
  await hide(false);
  await page.waitForRequest(/v1\/status/);
  await close(page);
});

test("times are shown in UTC when that is wanted", async () => {
  const page = await dashboard("", { timezoneId: "Asia/Kolkata" });
  const local = await page.locator("#top-when").textContent();
  const utc = await page.locator("#top-when").getAttribute("title");
  await page.locator("#zone").click();
  const chosen = await page.locator("#top-when").textContent();
  assert.equal(chosen.slice(0, 5), utc.slice(11, 16));
  assert.notEqual(local.slice(0, 5), chosen.slice(0, 5));
  await close(page);
});

test("it asks for an API key, and sends it from then on", async () => {
  const page = await dashboard();
  await page.route("**/v1/**", (route) => {
    if (route.request().headers().authorization === "Bearer the key") return route.continue();
    const problem = {
      type: "urn:weir:problem:unauthorized",
      title: "Unauthorized",
      status: 401,
      detail: "this server wants an API key",
      reason: "unauthorized",
    };
    return route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify(problem) });
  });
  await page.getByText("this server wants an API key").waitFor();
  await checkAccessibility(page, "asking for a key");
  await page.getByRole("textbox", { name: "API key" }).fill("the key");
  await page.keyboard.press("Enter");
  await page.waitForResponse((answer) => answer.url().includes("/v1/status") && answer.ok());
  assert.equal(await page.locator("#key-dialog").isVisible(), false);
  assert.ok(
    page.troubles.every((trouble) => trouble.includes("401")),
    page.troubles.join("\n"),
  );
  await page.context().close();
});

test("a partial answer is marked, and a refusal is shown in the server's words", async () => {
  const page = await dashboard();
  assert.equal(await page.locator("#partial").isVisible(), false);
  await page.route("**/v1/stats?**", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), partial: true } });
  });
  await page.locator("#partial").waitFor();
  await page.unroute("**/v1/stats?**");
  await page.locator("#partial").waitFor({ state: "hidden" });
  assert.deepEqual(page.troubles, []);
  const problem = {
    type: "urn:weir:problem:too_long",
    title: "Bad Request",
    status: 400,
    detail: "at most 5000 windows at once",
    reason: "too_long",
  };
  await page.route("**/v1/stats?**", (route) =>
    route.fulfill({ status: 400, contentType: "application/problem+json", body: JSON.stringify(problem) }),
  );
  await page.getByText("at most 5000 windows at once").waitFor();
  await page.context().close();
});

test("a server that is killed is noticed, what was there stays, and it goes on by itself", async () => {
  const page = await dashboard();
  const ads = await rows(page);
  assert.deepEqual(page.troubles, []);
  await weir.kill();
  await page.getByText("Weir does not answer").first().waitFor();
  assert.deepEqual(await rows(page), ads);
  assert.match(await page.locator("#spoken").textContent(), /does not answer/);
  await screenshot(page, "away");
  await checkAccessibility(page, "away");
  await weir.begin();
  await page.locator("#toast").waitFor({ state: "hidden", timeout: 30_000 });
  await page.locator("#pulse[data-state=live]").waitFor({ timeout: 30_000 });
  assert.match(await page.locator("#spoken").textContent(), /answers again/);
  assert.ok(
    page.troubles.every((trouble) => /ERR_|503/.test(trouble)),
    page.troubles.join("\n"),
  );
  await page.context().close();
});

test("a system without clicks says how to post the first, and shows it when it comes", async () => {
  const empty = await Weir.start({ demo: false });
  try {
    const page = await open(browser, `${empty.url}/`);
    await page.getByRole("heading", { name: "No clicks yet" }).waitFor();
    assert.match(await page.locator("#curl").textContent(), new RegExp(`${empty.url}/v1/clicks`));
    await screenshot(page, "empty");
    await checkAccessibility(page, "empty");
    await empty.post({ ad_id: "first", user_id: "you", timestamp: Math.floor(Date.now() / 1000) });
    await page.locator("#ads tr", { hasText: "first" }).waitFor({ timeout: 30_000 });
    await close(page);
  } finally {
    await empty.end();
  }
});

test("the API's documentation is there, out of the binary", async () => {
  const page = await open(browser, `${weir.url}/docs`);
  await page.locator(".opblock").first().waitFor();
  await page.locator(".opblock-summary-control").first().click();
  await page.locator(".opblock-body").first().waitFor();
  await screenshot(page, "docs");
  await close(page);
});
