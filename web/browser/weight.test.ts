// What a first visit costs: the bytes that come over the wire, as the browser counts them, and how far
// what is seen moves. How long it takes, `page.figures.ts` says.

import { expect, test } from "vitest";
import { visit, withBrowser } from "./visit";

withBrowser();

const KB = 1024;

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
