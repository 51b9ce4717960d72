// Every page, in both themes and languages, with and without something to show and when the server
// fails: no violation of WCAG 2.2 AA that axe finds, and nothing that the page's policy forbids.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { ask, finishedRun, LANGUAGES, visit, withBrowser } from "./visit";

const TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"];
const USER = "user_axe";

withBrowser();

let axe = "";
let run = "";
let memory = "";

beforeAll(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const address = inject("address");
  run = await finishedRun(address, USER, { input: "calls 2x4", session_key: "s_axe" });
  await finishedRun(address, USER, { input: "fail", session_key: "s_axe" });
  const written = await ask(address, USER, "/api/memories", { type: "core", text: "green tea" });
  memory = written.id;
  await ask(address, USER, "/api/keys", { name: "axe", rights: ["runs:read"] });
});

const paths = () => [
  "/",
  "/sessions",
  "/sessions/s_axe",
  "/runs",
  `/runs?peek=${run}`,
  `/runs/${run}`,
  `/runs/${run}?tab=chat`,
  `/runs/${run}?tab=events`,
  "/memory",
  "/memory?q=tea",
  `/memory/${memory}`,
  "/queue",
  "/usage",
  "/agents",
  "/tools",
  "/tools?tool=memory_search",
  "/keys",
  "/audit",
  "/settings",
  "/login",
  "/memory/mem_x/nowhere",
];

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(
    (tags) =>
      (
        window as unknown as { axe: { run: (what: Document, how: object) => Promise<AxeResults> } }
      ).axe.run(document, { runOnly: tags, resultTypes: ["violations"] }),
    TAGS,
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`),
  );
}

/** Once nothing is asked for any more, all there is to show is shown. */
async function settled(page: Page) {
  await page.waitForLoadState("networkidle");
}

describe.each(LANGUAGES)("in %s", (language) => {
  test.each(["light", "dark"] as const)("pages with something to show, %s", async (theme) => {
    const { page, go, faults } = await visit("/", { language, theme, user: USER });
    for (const path of paths()) {
      await go(path);
      await page.locator("h1").first().waitFor({ state: "attached" });
      await settled(page);
      expect(await violations(page), `${path} ${theme} ${language}`).toEqual([]);
    }
    expect(faults).toEqual([]);
  });
});

test.each([
  ["light", "en"],
  ["dark", "zh-CN"],
] as const)("pages with nothing to show, %s, %s", async (theme, language) => {
  const { page, go, faults } = await visit("/", { theme, language });
  for (const path of paths().filter((path) => !path.includes("run_") && !path.includes("mem_"))) {
    await go(path);
    await settled(page);
    expect(await violations(page), `${path} ${theme}`).toEqual([]);
  }
  expect(faults).toEqual([]);
});

test("pages whose server fails, and menus that are open", async () => {
  const { page, go, t } = await visit("/", { language: "zh-CN", theme: "dark", user: USER });
  await page.keyboard.press("Control+K");
  await page.getByRole("combobox").waitFor();
  expect(await violations(page)).toEqual([]);
  await page.keyboard.press("Escape");
  await page.getByTitle(t("scope.hint")).click();
  await page.getByLabel(t("scope.user_id")).waitFor();
  expect(await violations(page)).toEqual([]);
  await page.keyboard.press("Escape");

  const refusal = { error: { code: "internal", message: "a defect", request_id: "req_1" } };
  await page.route(/\/api\/(?!whoami)|\/health/, (route) =>
    route.fulfill({ status: 500, json: refusal }),
  );
  for (const path of paths()) {
    await go(path);
    await settled(page);
    expect(await violations(page), path).toEqual([]);
  }
  await go("/runs");
  await page.getByText("req_1").first().waitFor();
});

test("who may not is told which right is missing, and sees no place that needs it", async () => {
  const { page, go, t } = await visit("/", { user: USER });
  await page.route("**/api/whoami", async (route) => {
    const answer = await route.fetch();
    const json = { ...(await answer.json()), rights: ["memory:read"] };
    await route.fulfill({ json });
  });
  await page.route("**/api/runs?*", (route) => {
    const message = "the credential lacks the right `runs:read`";
    const error = { code: "forbidden", message, request_id: "req_1" };
    return route.fulfill({ status: 403, json: { error } });
  });
  await go("/runs");
  await page.getByText(t("forbidden.right", { right: "runs:read" })).waitFor();
  expect(await page.getByRole("link", { name: t("nav.keys") }).count()).toBe(0);
  expect(await page.getByRole("link", { name: t("nav.memory") }).count()).toBe(1);
  expect(await violations(page)).toEqual([]);
});
