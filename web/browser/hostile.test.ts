// What a model says cannot act on the page, and what the page is served with forbids it, too.

import { expect, inject, test } from "vitest";
import { visit, withBrowser } from "./visit";

withBrowser();

test("hostile Markdown runs nothing, asks nobody, and freezes nothing", async () => {
  const { page, faults, t } = await visit("/sessions/s_hostile");
  const title = await page.title();
  await page.evaluate(() => {
    const tasks: number[] = [];
    Object.assign(window, { tasks });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) tasks.push(entry.duration);
    }).observe({ type: "longtask" });
  });
  const box = page.getByRole("textbox", { name: t("chat.message") });
  await box.fill("hostile");
  await box.press("Enter");
  await page.getByText("The end.").waitFor();
  await page.getByRole("link", { name: t("chat.trace") }).waitFor();
  const log = page.getByRole("log");
  expect(await log.locator("script, img, iframe, style, [onerror]").count()).toBe(0);
  const links = await log
    .locator(".prose a")
    .evaluateAll((all) => all.map((link) => link.getAttribute("href")));
  expect(links).toEqual(["https://evil.example/b.png?secret"]);
  expect(await page.title()).toBe(title);
  expect(faults).toEqual([]);
});

test("the page is served with a strict policy, and its parts for good", async () => {
  const address = inject("address");
  const page = await fetch(`${address}/runs/run_1`);
  const policy = page.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toMatch(/unsafe|script-src|style-src|\*/);
  expect(page.headers.get("cache-control")).toBe("no-cache");
  const html = await page.text();
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)?.[1];
  const part = await fetch(address + script, { headers: { "accept-encoding": "gzip" } });
  expect(part.headers.get("content-encoding")).toBe("gzip");
  expect(part.headers.get("cache-control")).toContain("immutable");
  expect(part.headers.get("content-type")).toContain("text/javascript");
  const plain = await fetch(address + script, { headers: { "accept-encoding": "identity" } });
  expect(plain.headers.get("content-encoding")).toBeNull();
  expect(await plain.text()).toBe(await part.text());
  const etag = page.headers.get("etag") ?? "";
  const again = await fetch(address, { headers: { "if-none-match": etag } });
  expect(again.status).toBe(304);
});
