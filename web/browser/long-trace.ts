// A run of ten thousand events, made by the real server, and what one does with its trace.

import type { CDPSession, Page } from "playwright-core";
import { expect, inject } from "vitest";
import { finishedRun, type Visit, visit } from "./visit";

export const LONG_USER = "user_long";
/** Two events for every call, and some for every step. */
const STEPS = 78;
const CALLS = 64;
export const ROWS = STEPS * CALLS;

export function makeLongRun(): Promise<string> {
  const input = `calls ${STEPS}x${CALLS}`;
  return finishedRun(inject("address"), LONG_USER, { input, session_key: "s_long" });
}

/** The trace, once all of its events are there. */
export async function openTrace(run: string): Promise<Visit> {
  const visited = await visit(`/runs/${run}`, { user: LONG_USER });
  await hasRows(visited.page, (rows) => rows > ROWS);
  return visited;
}

export const hasRows = (page: Page, is: (rows: number) => boolean) =>
  expect
    .poll(async () => Number(await page.getByRole("treegrid").getAttribute("aria-rowcount")), {
      timeout: 60_000,
    })
    .toSatisfy(is);

/** How long the wheel turns. */
export const SCROLL_S = 2;

/** Scrolls by wheel, and looks in every frame whether a row stands where one should. */
export async function scrolled(page: Page, protocol: CDPSession, speed: number) {
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
    yDistance: -speed * SCROLL_S,
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
