// A trace of ten thousand events, made by the real server: it opens at once, scrolls without blanks,
// filters in a moment, and weighs little.

import type { CDPSession, Page } from "playwright-core";
import { beforeAll, expect, inject, test } from "vitest";
import { LONG_USER } from "./setup";
import { ask, ended, type Visit, visit, withBrowser } from "./visit";

withBrowser();

const EVENTS_MIN = 10_000;

beforeAll(async () => {
  await ended(inject("address"), LONG_USER, inject("long"));
  const run = await ask(inject("address"), LONG_USER, `/api/runs/${inject("long")}`);
  expect(run.event_count).toBeGreaterThan(EVENTS_MIN);
}, 300_000);

const open = () => visit(`/runs/${inject("long")}`, { user: LONG_USER });

/** All events are there: the last row of the run is known. */
async function loaded({ page }: Visit) {
  await page.waitForFunction(
    (least) =>
      Number(document.querySelector("[role=treegrid]")?.getAttribute("aria-rowcount")) > least,
    EVENTS_MIN / 2 - 100,
  );
}

/** Scrolls by wheel, and looks in every frame whether a row stands where one should. */
async function scrolled(page: Page, protocol: CDPSession, speed: number) {
  await page.evaluate(() => {
    const frame = document.querySelector("[role=treegrid]")!;
    const box = frame.getBoundingClientRect();
    const seen = { frames: 0, blanks: 0, stop: false };
    Object.assign(window, { seen });
    const look = () => {
      seen.frames += 1;
      for (const part of [0.15, 0.5, 0.85]) {
        const at = document.elementFromPoint(box.left + 80, box.top + box.height * part);
        if (!at?.closest("[role=row]")) seen.blanks += 1;
      }
      if (!seen.stop) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  const box = (await page.getByRole("treegrid").boundingBox())!;
  await protocol.send("Input.synthesizeScrollGesture", {
    x: Math.round(box.x + 80),
    y: Math.round(box.y + box.height / 2),
    yDistance: -speed * 2,
    speed,
    gestureSourceType: "mouse",
    preventFling: true,
  });
  return page.evaluate(() => {
    const { seen } = window as unknown as {
      seen: { frames: number; blanks: number; stop: boolean };
    };
    seen.stop = true;
    return seen;
  });
}

test("ten thousand events scroll without a blank, and weigh little", async () => {
  const visited = await open();
  const { page, context, faults } = visited;
  await page.getByRole("row").nth(5).waitFor();
  await loaded(visited);
  const protocol = await context.newCDPSession(page);
  for (const speed of [3_000, 24_000]) {
    const { frames, blanks } = await scrolled(page, protocol, speed);
    expect(blanks, `at ${speed} pixels a second`).toBe(0);
    expect(frames).toBeGreaterThan(10);
  }
  expect(await page.locator("*").count()).toBeLessThan(1_500);
  await protocol.send("HeapProfiler.enable");
  await protocol.send("HeapProfiler.collectGarbage");
  const { usedSize } = await protocol.send("Runtime.getHeapUsage");
  expect(usedSize / 1024 / 1024).toBeLessThan(60);
  expect(faults).toEqual([]);
});

test("a filter finds among ten thousand, and the address keeps it", async () => {
  const visited = await open();
  const { page, t } = visited;
  await loaded(visited);
  await page.getByRole("searchbox", { name: t("trace.filter") }).fill("read_file");
  await page.waitForFunction(
    () => Number(document.querySelector("[role=treegrid]")?.getAttribute("aria-rowcount")) < 3_000,
  );
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("e");
  await page.waitForURL(/span=/);
  expect(page.url()).toContain("q=read_file");
  await page.reload();
  await page.locator('[role="row"][aria-selected="true"]').waitFor();
  const selection = await page.evaluate(() => history.length);
  await page.keyboard.press("e");
  expect(await page.evaluate(() => history.length), "choosing a span is no new page").toBe(
    selection,
  );
});
