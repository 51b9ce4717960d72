// What operators look at: the nodes that work, and what was used.

import { describe, expect, inject, test } from "vitest";
import { finishedRun, LANGUAGES, type Visit, visit, withBrowser } from "./visit";

withBrowser();

/** From now on the page believes that its credential has these rights alone. */
async function onlyMay({ page }: Visit, rights: string[]) {
  await page.route("**/api/whoami", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ json: { ...(await answer.json()), rights } });
  });
}

describe.each(LANGUAGES)("in %s", (language) => {
  test("administrators see each node, and nobody else asks for them", async () => {
    const visited = await visit("/queue", { language });
    const { page, t, go, faults } = visited;
    const row = page.getByRole("region", { name: t("nodes") }).getByRole("row");
    await row.filter({ hasText: t("nodes.alive") }).waitFor();

    await onlyMay(visited, ["runs:read"]);
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await go("/queue");
    await page.getByText(t("nodes.right")).waitFor();
    await page.getByText(t("queue.idle")).waitFor();
    expect(asked).not.toContain("/api/nodes");
    expect(faults).toEqual([]);
  });

  test("nodes that are silent, or away, or cannot be read", async () => {
    const { page, t, go, faults } = await visit("/login", { language });
    const node = {
      node_id: "01890a5d-ac96-774b-bcce-b302099a8057",
      version: "1.2.3",
      started_at: "2026-01-01T00:00:00Z",
      seen_at: "2026-01-01T00:05:00Z",
      is_alive: false,
      concurrency: 8,
      running: 2,
      tool_count: 3,
    };
    let nodes: object[] = [node];
    await page.route("**/api/nodes", (route) => route.fulfill({ json: { nodes } }));
    await go("/queue");
    const row = page.getByRole("row").filter({ hasText: t("nodes.silent") });
    await row.getByText(t("nodes.places", { running: 2, concurrency: 8 })).waitFor();
    nodes = [];
    await page.getByText(t("nodes.empty")).waitFor();
    const error = { code: "internal", message: "a defect", request_id: "req_nodes" };
    await page.route("**/api/nodes", (route) => route.fulfill({ status: 500, json: { error } }));
    await page.getByText("req_nodes").waitFor();
    await page.getByText(t("nodes.empty")).waitFor();
    expect(faults).toEqual([]);
  });

  test("usage is looked at by time and by name, and the address keeps it", async () => {
    const user = `user_usage_${language}`;
    const address = inject("address");
    await finishedRun(address, user, { input: "hello", session_key: "s_used" });
    await finishedRun(address, user, { input: "hi", session_key: "s_used", agent_id: "demo" });
    const visited = await visit("/usage", { language, user });
    const { page, t, faults } = visited;
    const table = (name: string) => page.getByRole("region", { name, exact: true });
    await table(t("model")).getByRole("row").filter({ hasText: "lab/test" }).waitFor();
    await page.getByRole("img", { name: new RegExp(t("usage.tokens")) }).waitFor();

    await page.getByLabel(t("usage.by"), { exact: true }).selectOption("agent");
    await table(t("agent")).getByRole("row").filter({ hasText: "demo" }).waitFor();
    await page.getByLabel(t("runs.time"), { exact: true }).selectOption("1");
    await table(t("usage.hour")).getByRole("row").filter({ hasText: "demo" }).waitFor();
    await page.getByRole("button", { name: t("usage.latency") }).click();
    await page.getByRole("button", { name: t("usage.of.organisation") }).click();
    await page.getByLabel(t("usage.by"), { exact: true }).selectOption("user");
    await table(t("keys.user")).getByRole("row").filter({ hasText: user }).waitFor();
    const said = new URL(page.url()).searchParams;
    expect(Object.fromEntries(said)).toEqual({
      by: "user",
      days: "1",
      figure: "latency",
      of: "organisation",
    });
    await page.reload();
    await table(t("keys.user")).getByRole("row").filter({ hasText: user }).waitFor();

    // Who does not administer the organisation sees their own, whatever the address says.
    await onlyMay(visited, ["runs:read"]);
    await page.reload();
    await table(t("model")).getByRole("row").filter({ hasText: "lab/test" }).waitFor();
    expect(await page.getByRole("button", { name: t("usage.of.organisation") }).count()).toBe(0);
    expect(faults).toEqual([]);
  });

  test("a time without usage offers a longer one, and rows that were left out are said", async () => {
    const { page, t, faults } = await visit("/usage?days=7", { language });
    await page.getByText(t("usage.none")).waitFor();
    const today = `${new Date().toISOString().slice(0, 10)}T00:00:00.000Z`;
    const row = { at: today, name: "lab/test", runs: 1, failed: 0, cost_usd: 0 };
    const tokens = { input_tokens: 1, output_tokens: 1, reasoning_tokens: 0, cached_tokens: 0 };
    await page.route("**/api/usage?*", (route) =>
      route.fulfill({ json: { rows: [{ ...row, ...tokens }], is_cut: true } }),
    );
    await page.getByRole("button", { name: t("runs.days", { n: 365 }) }).click();
    await page.getByText(t("usage.cut")).waitFor();
    expect(page.url()).toContain("days=365");
    expect(faults).toEqual([]);
  });
});
