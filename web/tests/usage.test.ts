// Usage: which time it is of, and what rows come to.

import { expect, test } from "vitest";
import type { UsageRow } from "~/api/types";
import { periodOf, slotsOf } from "~/usage/period";
import { byName, cachedShare, sumOf } from "~/usage/sums";

const NOW = Date.UTC(2026, 10, 26, 12, 34);

const row = (name: string | null, input_tokens: number, cost_usd: number): UsageRow => ({
  at: "2026-11-26T00:00:00.000Z",
  name,
  runs: 1,
  failed: 0,
  input_tokens,
  output_tokens: 1,
  reasoning_tokens: 0,
  cached_tokens: input_tokens / 2,
  cost_usd,
});

test("an address asks for no more than the server answers", () => {
  expect(periodOf()).toEqual({ days: 30, per: "day" });
  expect(periodOf(1)).toEqual({ days: 1, per: "hour" });
  expect(periodOf(7, "hour")).toEqual({ days: 7, per: "hour" });
  expect(periodOf(90, "hour")).toEqual({ days: 90, per: "day" });
  expect(periodOf(100_000)).toEqual({ days: 365, per: "day" });
});

test("a period is cut at whole days and hours, the one that goes on included", () => {
  const days = slotsOf({ days: 7, per: "day" }, NOW);
  expect([days.length, days[0], days.at(-1)]).toEqual([
    7,
    "2026-11-20T00:00:00.000Z",
    "2026-11-26T00:00:00.000Z",
  ]);
  const hours = slotsOf({ days: 1, per: "hour" }, NOW);
  expect([hours.length, hours[0], hours.at(-1)]).toEqual([
    24,
    "2026-11-25T13:00:00.000Z",
    "2026-11-26T12:00:00.000Z",
  ]);
});

test("rows are put together by name, what cost most first", () => {
  const rows = [row("a", 10, 1), row(null, 10, 0), row("b", 10, 3), row("a", 30, 1)];
  expect(byName(rows).map(([name, of]) => [name, of.length])).toEqual([
    ["b", 1],
    ["a", 2],
    [null, 1],
  ]);
  expect(sumOf(rows)).toMatchObject({ runs: 4, inputTokens: 60, costUsd: 5 });
  expect(cachedShare(sumOf(rows))).toBe(0.5);
  expect(cachedShare(sumOf([]))).toBe(null);
});
