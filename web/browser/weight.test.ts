// What a first visit costs: the bytes that come over the wire, as the browser counts them, and how far
// what is seen moves; and what all that could be read weighs. How long it takes, `page.figures.ts` says.

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { expect, inject, test } from "vitest";
import { visit, withBrowser } from "./visit";

withBrowser();

const KB = 1024;
const ASSETS = join(import.meta.dirname, "../dist/assets");

test("what the page is made of is small, each part and all together", async () => {
  const names = (await readdir(ASSETS)).filter((name) => name.endsWith(".js.gz"));
  const sizes = await Promise.all(
    names.map(async (name) => ({ name, size: (await stat(join(ASSETS, name))).size })),
  );
  const html = await (await fetch(inject("address"))).text();
  const isFirst = (name: string) => html.includes(basename(name, ".gz"));
  const sum = (parts: typeof sizes) => parts.reduce((all, { size }) => all + size, 0);
  const first = sizes.filter(({ name }) => isFirst(name));
  expect(first.length, "the page is that of this folder").toBeGreaterThan(0);
  expect(sum(first)).toBeLessThan(140 * KB);
  const heavy = sizes.filter(({ name, size }) => !isFirst(name) && size > 70 * KB);
  expect(heavy).toEqual([]);
  expect(sum(sizes)).toBeLessThan(420 * KB);
});

test.each(["/", "/runs", "/memory"])(
  "the first look at %s is light and does not jump",
  async (path) => {
    const { page, t } = await visit(path);
    await page.locator("h1").first().waitFor({ state: "attached" });
    await page
      .getByRole("status", { name: t("loading") })
      .first()
      .waitFor({ state: "detached" });
    const { scripts, styles, fonts } = await page.evaluate(() => {
      const parts = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
      const sum = (end: string) =>
        parts
          .filter(({ name }) => name.endsWith(end))
          .reduce((all, { encodedBodySize }) => all + encodedBodySize, 0);
      return { scripts: sum(".js"), styles: sum(".css"), fonts: sum(".woff2") };
    });
    expect(scripts).toBeGreaterThan(0);
    expect(scripts).toBeLessThan(190 * KB);
    expect(styles).toBeLessThan(15 * KB);
    expect(fonts).toBeLessThan(50 * KB);
    const shift = await page.evaluate(() => {
      const observer = new PerformanceObserver(() => {});
      observer.observe({ type: "layout-shift", buffered: true });
      const shifts = observer.takeRecords() as (PerformanceEntry & { value: number })[];
      return shifts.reduce((all, { value }) => all + value, 0);
    });
    expect(shift).toBeLessThan(0.02);
  },
);
