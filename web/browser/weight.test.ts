// What a first visit costs: the bytes that come over the wire, as the browser counts them.

import { expect, test } from "vitest";
import { visit, withBrowser } from "./visit";

withBrowser();

const KB = 1024;

test.each(["/", "/runs", "/memory"])(
  "the first look at %s is light and does not jump",
  async (path) => {
    const { page } = await visit(path);
    await page.waitForLoadState("networkidle");
    const { scripts, styles, fonts } = await page.evaluate(() => {
      const parts = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
      const sum = (end: string) =>
        parts
          .filter(({ name }) => name.endsWith(end))
          .reduce((all, { encodedBodySize }) => all + encodedBodySize, 0);
      return { scripts: sum(".js"), styles: sum(".css"), fonts: sum(".woff2") };
    });
    expect(scripts).toBeLessThan(190 * KB);
    expect(styles).toBeLessThan(15 * KB);
    expect(fonts).toBeLessThan(50 * KB);
    const shift = await page.evaluate(
      () =>
        new Promise<number>((told) => {
          new PerformanceObserver((list) => {
            const shifts = list.getEntries() as (PerformanceEntry & { value: number })[];
            told(shifts.reduce((all, { value }) => all + value, 0));
          }).observe({ type: "layout-shift", buffered: true });
          setTimeout(() => told(0), 500);
        }),
    );
    expect(shift).toBeLessThan(0.02);
  },
);
