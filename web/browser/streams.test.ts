// Streams that break: nothing is lost, nothing comes twice, and one is told calmly.

import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, inject, test } from "vitest";
import { LOOK_MS, SILENCE_MAX_MS } from "~/live/stream";
import { hasRows } from "./long-trace";
import { openGate, WHOLE } from "./model";
import { Server } from "./server";
import { ask, ended, type Options, type Visit, visit, withBrowser, wordsOf } from "./visit";
import { Wire } from "./wire";

withBrowser();

const t = wordsOf("en");
const USER = "user_streams";
const LONG_S = 120;
/** Two events for every call, and some for every step. */
const BURST_STEPS = 20;
const BURST_CALLS = 64;
let server: Server;
let wire: Wire;

beforeAll(async () => {
  server = await Server.start(inject("model"));
  wire = await Wire.start(server.address);
});

afterEach(() => wire.heal());

afterAll(async () => {
  wire?.stop();
  await server?.remove();
});

/** A run at its gate, watched through the wire. */
async function watching(gate: string, options: Options = {}) {
  const session_key = `s_${gate}`;
  const run = await ask(server.address, USER, "/api/runs", { input: `gate ${gate}`, session_key });
  const visited = await visit(`/runs/${run.run_id}?tab=chat`, {
    address: wire.address,
    user: USER,
    ...options,
  });
  await visited.page.getByText("The first half is").waitFor();
  return { ...visited, id: run.run_id as string };
}

const lost = (page: Page) => page.getByText(t("link.lost")).waitFor();
const live = (page: Page) => page.getByText(/^Reconnected/).waitFor();

/** What the page shows is what was written, all of it and once. */
async function isWhole({ page, go }: Visit, id: string, gate: string) {
  await openGate(inject("model"), gate);
  await page.getByText("And the second half").waitFor();
  await page.getByText(t("status.completed")).first().waitFor();
  expect(await page.locator(".prose").innerText()).toBe(WHOLE.replaceAll(/\*\*|`/g, ""));
  const { events } = await ask(server.address, USER, `/api/runs/${id}/events?limit=500`);
  await go(`/runs/${id}?tab=events`);
  await page.getByRole("listitem").filter({ hasText: "run.completed" }).waitFor();
  const rows = await page.getByRole("listitem").allInnerTexts();
  const seen = rows.map((row) => Number(/#(\d+)/.exec(row)?.[1])).sort((a, b) => a - b);
  expect(seen).toEqual(events.map(({ seq }: { seq: number }) => seq));
}

test("cut connections are made again where they were", async () => {
  const visited = await watching("cut");
  wire.cut();
  await visited.page.getByText(t("link.live"), { exact: true }).waitFor();
  await isWhole(visited, visited.id, "cut");
  expect(visited.faults).toEqual([]);
});

test("a server that asks for a long wait is left alone, until somebody says so", async () => {
  const visited = await watching("busy", { sharesWorkers: false, clock: true });
  const { page } = visited;
  wire.busy(LONG_S);
  await lost(page);
  // The stream, and the row of the run.
  await expect.poll(() => wire.refused).toBe(2);
  await page.clock.fastForward((LONG_S - 20) * 1000);
  await page.evaluate(() => new Promise((next) => requestIdleCallback(next)));
  expect(wire.refused).toBe(2);
  wire.heal();
  await page.getByRole("button", { name: t("link.retry") }).click();
  await live(page);
  await isWhole(visited, visited.id, "busy");
});

test("a server that is killed and comes back goes on with the run", async () => {
  const visited = await watching("killed");
  await server.stop("SIGKILL");
  await lost(visited.page);
  await server.resume();
  wire.target = server.address;
  await live(visited.page);
  await isWhole(visited, visited.id, "killed");
});

test("pages that are opened while the server is away fill by themselves", async () => {
  const other = await ask(server.address, USER, "/api/runs", { input: "two", session_key: "s_2" });
  const { page } = await watching("away");
  await page.getByRole("link", { name: t("nav.runs"), exact: true }).click();
  const link = page.getByTitle(other.run_id);
  await link.waitFor();
  wire.busy(1);
  await link.click();
  await page.getByRole("alert").first().waitFor();
  wire.heal();
  await page.getByRole("row").filter({ hasText: "lab/test" }).waitFor();
  await page.getByRole("alert").waitFor({ state: "detached" });

  // A page whose program has yet to be read.
  wire.busy(1);
  await page.getByRole("link", { name: t("nav.memory"), exact: true }).click();
  await page.getByRole("status", { name: t("loading") }).waitFor();
  wire.heal();
  await page.getByRole("button", { name: t("memory.write") }).waitFor();
  await openGate(inject("model"), "away");
});

test("a connection that has gone silent is noticed, also where workers are not shared", async () => {
  const visited = await watching("silent", { sharesWorkers: false, clock: true });
  wire.mute(true);
  await visited.page.clock.fastForward(SILENCE_MAX_MS + LOOK_MS);
  await lost(visited.page);
  wire.mute(false);
  await isWhole(visited, visited.id, "silent");
});

test("a machine that slept finds its connections dead, and makes new ones", async () => {
  const visited = await watching("slept", { sharesWorkers: false, clock: true });
  wire.mute(true);
  // Asleep, no timer runs: only the time of day has moved on.
  await visited.page.clock.setSystemTime(Date.now() + 3_600_000);
  await lost(visited.page);
  wire.mute(false);
  await isWhole(visited, visited.id, "slept");
});

test("thousands of events that were missed are all there at once, in their order", async () => {
  const body = { input: `gate burst calls ${BURST_STEPS}x${BURST_CALLS}`, session_key: "s_burst" };
  const { run_id } = await ask(server.address, USER, "/api/runs", body);
  const { page } = await visit(`/runs/${run_id}`, { address: wire.address, user: USER });
  await page
    .getByRole("row")
    .filter({ hasText: t("span.step", { n: 1 }) })
    .waitFor();
  await page.getByText(t("link.live"), { exact: true }).waitFor();
  wire.busy(1);
  await openGate(inject("model"), "burst");
  await ended(server.address, USER, run_id);
  wire.heal();
  await live(page);
  const { spans } = await ask(server.address, USER, `/api/runs/${run_id}/trace?limit=5000`);
  expect(spans.length).toBeGreaterThan(BURST_STEPS * BURST_CALLS);
  await hasRows(page, (rows) => rows === spans.length);
  await page.getByText(t("status.completed")).first().waitFor();
  await page.getByRole("treegrid").focus();
  await page.keyboard.press("End");
  const last = spans.at(-1).span_id;
  await page.locator(`#span-row-${last}[aria-selected="true"]`).waitFor();
}, 400_000);

const openStreams = async () => {
  const metrics = await fetch(`${server.address}/metrics`);
  return Number(/^openintern_streams_open (\d+)$/m.exec(await metrics.text())?.[1]);
};

test("eight tabs with eight runs are all live, over one stream", async () => {
  const gates = Array.from({ length: 8 }, (_, n) => `tab-${n}`);
  const { context, page } = await watching(gates[0]!);
  const tabs: Page[] = [page];
  for (const gate of gates.slice(1)) {
    const body = { input: `gate ${gate}`, session_key: `s_${gate}` };
    const { run_id } = await ask(server.address, USER, "/api/runs", body);
    const tab = await context.newPage();
    await tab.goto(`${wire.address}/runs/${run_id}?tab=chat`);
    tabs.push(tab);
  }
  await Promise.all(tabs.map((tab) => tab.getByText(t("link.live"), { exact: true }).waitFor()));
  // Words in the making come over streams alone.
  await Promise.all(tabs.map((tab) => tab.getByText("The first half is").waitFor()));
  await expect.poll(openStreams).toBe(1);
  await Promise.all(gates.map((gate) => openGate(inject("model"), gate)));
  await Promise.all(tabs.map((tab) => tab.getByText("And the second half").waitFor()));
  await Promise.all(tabs.map((tab) => tab.getByText(t("status.completed")).first().waitFor()));
});

test("a run that is gone stops none of those that are followed beside it", async () => {
  const { page, context } = await watching("stays");
  const other = await context.newPage();
  // As if the run had been deleted between its reading and its following.
  const gone = "run_01h455vb4pex5vsknk084sn02q";
  await other.route(`**/api/runs/${gone}**`, async (route) => {
    const { pathname, search } = new URL(route.request().url());
    const shown = pathname.replace(gone, new URL(page.url()).pathname.split("/")[2]!);
    await route.continue({ url: `${wire.address}${shown}${search}` });
  });
  await other.goto(`${wire.address}/runs/${gone}?tab=chat`);
  await other.getByText(t("link.refused"), { exact: true }).waitFor();
  await openGate(inject("model"), "stays");
  await page.getByText("And the second half").waitFor();
});
