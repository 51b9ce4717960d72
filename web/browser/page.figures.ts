// How long the page takes, printed: no figure fails anything, since machines are noisy.

import { beforeAll, test } from "vitest";
import { hasRows, LONG_USER, makeLongRun, openTrace, ROWS, SCROLL_S, scrolled } from "./long-trace";
import { visit, withBrowser } from "./visit";

withBrowser();

const TIMES = 5;
let run = "";

beforeAll(async () => {
  run = await makeLongRun();
}, 600_000);

/** The median of some tries, each in a browser that has nothing kept. */
async function say(what: string, unit: string, once: () => Promise<number>) {
  const figures: number[] = [];
  for (let n = 0; n < TIMES; n += 1) figures.push(await once());
  figures.sort((a, b) => a - b);
  const shown = [figures[Math.floor(TIMES / 2)]!, figures[0]!, figures.at(-1)!].map(Math.round);
  console.log(`| ${what} | ${shown[0]} ${unit} (${shown[1]} to ${shown[2]}) |`);
}

const firstPaint = async (path: string, user?: string) => {
  const { page } = await visit(path, { ...(user && { user }) });
  await page.locator("h1").first().waitFor({ state: "attached" });
  return page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN,
  );
};

test("first paint", async () => {
  await say("first paint of `/`", "ms", () => firstPaint("/"));
  await say("first paint of `/runs`", "ms", () => firstPaint("/runs"));
  await say("first paint of a trace of 10,000 events", "ms", () =>
    firstPaint(`/runs/${run}`, LONG_USER),
  );
});

test("a trace of ten thousand events", async () => {
  await say("all rows of 10,000 events, from the request for the page", "ms", async () => {
    const { page } = await openTrace(run);
    return page.evaluate(() => performance.now());
  });
  const { page, context, t } = await openTrace(run);
  const protocol = await context.newCDPSession(page);
  for (const speed of [3_000, 24_000]) {
    await say(`frames a second, scrolling at ${speed} px/s`, "", async () => {
      const { frames } = await scrolled(page, protocol, speed);
      return frames / SCROLL_S;
    });
  }
  const filter = page.getByRole("searchbox", { name: t("trace.filter") });
  await say("a filter, from the last key to the rows", "ms", async () => {
    await filter.fill("");
    await hasRows(page, (rows) => rows > ROWS);
    const began = Date.now();
    await filter.fill("read_file");
    await page.waitForFunction(
      (most) =>
        Number(document.querySelector("[role=treegrid]")?.getAttribute("aria-rowcount")) < most,
      ROWS / 2,
    );
    return Date.now() - began;
  });
});
