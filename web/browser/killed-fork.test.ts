// What a fork took over is never done again, though the server is killed under it: a tool's own journal
// says what it was asked. (That no fork of any step calls a tool twice, `agent/tests/worker/fork.rs`
// shows.)

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test, vi } from "vitest";
import { openGate } from "./model";
import { Server } from "./server";
import { ask, ended, finishedRun, visit, withBrowser } from "./visit";

withBrowser();

const USER = "user_killed_fork";
let server: Server;

const journalOf = ({ folder }: Server) => join(folder, "journal");
const calls = async () => (await readFile(journalOf(server), "utf8")).split("\n").filter(Boolean);

/** Returns once runs have the tool: its server is started beside ours. */
const offered = () =>
  vi.waitUntil(
    async () => {
      const { tools } = await ask(server.address, USER, "/api/tools");
      return tools.some(({ name }: { name: string }) => name === "journal__note");
    },
    { timeout: 60_000 },
  );

beforeAll(async () => {
  server = await Server.start(inject("model"), (folder) => {
    const program = join(import.meta.dirname, "journal.mjs");
    const args = JSON.stringify([program, join(folder, "journal")]);
    const command = JSON.stringify(process.execPath);
    return `[mcp_servers.journal]\ncommand = ${command}\nargs = ${args}\n`;
  });
});

afterAll(() => server?.remove());

test("a fork goes on after its server was killed, and calls again nothing that was done", async () => {
  await writeFile(journalOf(server), "");
  await offered();
  const body = { input: "notes 3x", session_key: "s_killed" };
  const origin = await finishedRun(server.address, USER, body);
  expect(await calls()).toEqual(["s0n0", "s1n0", "s2n0"]);

  // It takes over the first step, does the second, and is held up in the third.
  const gate = "killed-fork";
  const forked = { from_step: 1, input: `notes 2x ${gate}` };
  const { run_id } = await ask(server.address, USER, `/api/runs/${origin}/fork`, forked);
  await vi.waitUntil(
    async () => {
      const { events } = await ask(server.address, USER, `/api/runs/${run_id}/events`);
      return events.some(({ type }: { type: string }) => type === "step.completed");
    },
    { timeout: 60_000 },
  );
  const before = await calls();
  expect(before).toEqual(["s0n0", "s1n0", "s2n0", "s0n0"]);

  await server.stop("SIGKILL");
  await server.resume();
  await offered();
  await openGate(inject("model"), gate);
  await ended(server.address, USER, run_id);
  const run = await ask(server.address, USER, `/api/runs/${run_id}`);
  expect([run.status, run.forked_from_step]).toEqual(["completed", 1]);
  expect(await calls(), "one call more: that of the step in which it was killed").toEqual([
    ...before,
    "s1n0",
  ]);

  const path = `/runs/${origin}/compare/${run_id}`;
  const { page, t, faults } = await visit(path, { user: USER, address: server.address });
  await page.getByText(t("compare.shared", { n: 1 })).waitFor();
  expect(faults).toEqual([]);
});
