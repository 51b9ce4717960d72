import { expect, test } from "vitest";
import { AGAIN_MS, again, LIVE_MS } from "~/api/again";
import { ApiError, errorOf, retryAfterMs } from "~/api/error";

const refused = (said?: string) =>
  new Response(null, { status: 503, headers: said === undefined ? {} : { "retry-after": said } });

test("a wait is said in seconds or as a date, and is never longer than a page lives", () => {
  const check = (said: string | undefined, want: number | null) =>
    expect(retryAfterMs(refused(said)), said).toBe(want);
  check(undefined, null);
  check("7", 7_000);
  check("0", null);
  check("soon", null);
  check("Sun, 06 Nov 1994 08:49:37 GMT", null);
  check("99999999999", 600_000);
  const later = new Date(Date.now() + 60_000).toUTCString();
  expect(retryAfterMs(refused(later))).toBeGreaterThan(50_000);
});

test("what a proxy answers has a code, too", () => {
  expect(errorOf(refused("7"), "<html>")).toMatchObject({
    code: "unavailable",
    isTransient: true,
    retryAfterMs: 7_000,
  });
});

test("nothing is asked again before the server wants to be asked", () => {
  const failed = (error: unknown) => ({ state: { error } });
  expect(again(failed(null))).toBe(false);
  expect(again(failed(null), LIVE_MS)).toBe(LIVE_MS);
  expect(again(failed(errorOf(refused(), null)), LIVE_MS)).toBe(LIVE_MS);
  expect(again(failed(errorOf(refused(), null)))).toBe(AGAIN_MS);
  expect(again(failed(errorOf(refused("60"), null)), LIVE_MS)).toBe(60_000);
  const forbidden = new ApiError(403, "forbidden", "no");
  expect(again(failed(forbidden))).toBe(false);
  expect(again(failed(forbidden), LIVE_MS)).toBe(LIVE_MS);
});
