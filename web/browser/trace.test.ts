// A trace of ten thousand events, made by the real server: it scrolls without blanks, is filtered, and
// weighs little. How long that takes, `page.figures.ts` says.

import { beforeAll, expect, test } from "vitest";
import { hasRows, makeLongRun, openTrace, ROWS, scrolled } from "./long-trace";
import { finishedRun, visit, withBrowser } from "./visit";

withBrowser();

let run = "";

beforeAll(async () => {
  run = await makeLongRun();
}, 300_000);

test("ten thousand events scroll without a blank, and weigh little", async () => {
  const { page, context, faults } = await openTrace(run);
  const protocol = await context.newCDPSession(page);
  for (const speed of [3_000, 24_000]) {
    const { frames, blanks } = await scrolled(page, protocol, speed);
    expect(frames).toBeGreaterThan(0);
    expect(blanks, `at ${speed} pixels a second`).toBe(0);
  }
  expect(await page.locator("*").count()).toBeLessThan(1_500);
  await protocol.send("HeapProfiler.enable");
  await protocol.send("HeapProfiler.collectGarbage");
  const { usedSize } = await protocol.send("Runtime.getHeapUsage");
  expect(usedSize / 1024 / 1024).toBeLessThan(60);
  expect(faults).toEqual([]);
});

test("a trace is an index: what a span took is read when it is chosen, and the rest when wanted", async () => {
  const user = "user_payloads";
  const input = `${"so much to say\n".repeat(15_000)}the end`;
  const { address } = await visit("/login");
  const id = await finishedRun(address, user, { input, session_key: "s_payloads" });
  const { page, t, go } = await visit("/runs", { user });
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await go(`/runs/${id}`);
  await page.getByRole("row").filter({ hasText: "main" }).click();
  await page.getByRole("button", { name: /64 KB/ }).click();
  await page.getByRole("tabpanel").getByText("the end").waitFor();
  expect(asked.filter((path) => /events|spans/.test(path))).toEqual([
    expect.stringContaining("/spans/"),
    expect.stringContaining("/spans/"),
  ]);
  expect(await page.getByRole("tab", { name: t("inspector.output") }).count()).toBe(1);
});

test("a filter finds among ten thousand, and the address keeps it", async () => {
  const { page, t } = await openTrace(run);
  await page.getByRole("searchbox", { name: t("trace.filter") }).fill("read_file");
  await hasRows(page, (rows) => rows > 0 && rows < ROWS / 2);
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("e");
  await page.waitForURL(/span=/);
  expect(page.url()).toContain("q=read_file");
  await page.reload();
  await page.locator('[role="row"][aria-selected="true"]').waitFor();
  const pages = await page.evaluate(() => history.length);
  const before = page.url();
  await page.keyboard.press("e");
  await page.waitForURL((url) => url.href !== before);
  expect(await page.evaluate(() => history.length), "choosing a span is no new page").toBe(pages);
});
