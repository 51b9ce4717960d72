// Every page, in both languages and themes, with and without something to show and when the server
// fails: no violation of WCAG 2.2 AA that axe finds, and nothing that the page's policy forbids.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { AxeResults, RunOptions } from "axe-core";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { ask, finishedRun, LANGUAGES, type Visit, visit, withBrowser } from "./visit";

const USER = "user_axe";
/** Of the rules, one looks at colours: it alone has something else to say of another theme. */
const ALL: RunOptions = { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] };
const COLOURS: RunOptions = { runOnly: { type: "rule", values: ["color-contrast"] } };

withBrowser({ warm: true });

let axe = "";
/** The rows that some pages show, by what stands for them in a path. */
const rows: Record<string, string> = {};

beforeAll(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const address = inject("address");
  rows.RUN = await finishedRun(address, USER, { input: "calls 2x4", session_key: "s_axe" });
  await finishedRun(address, USER, { input: "fail", session_key: "s_axe" });
  const written = await ask(address, USER, "/api/memories", { type: "core", text: "green tea" });
  rows.MEMORY = written.id;
  await ask(address, USER, "/api/keys", { name: "axe", rights: ["runs:read"] });
});

const PATHS = [
  "/",
  "/sessions",
  "/sessions/s_axe",
  "/runs",
  "/runs?peek=RUN",
  "/runs/RUN",
  "/runs/RUN?tab=chat",
  "/runs/RUN?tab=events",
  "/memory",
  "/memory?q=tea",
  "/memory/MEMORY",
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
const WITHOUT_ROWS = PATHS.filter((path) => !/RUN|MEMORY/.test(path));
const pathOf = (path: string) => path.replace(/RUN|MEMORY/, (name) => rows[name] ?? name);

async function violations(page: Page, options: RunOptions): Promise<string[]> {
  await page.evaluate(`window.axe || (() => { ${axe} })()`);
  const { violations } = await page.evaluate(
    (options) =>
      (
        window as unknown as { axe: { run: (what: Document, how: object) => Promise<AxeResults> } }
      ).axe.run(document, { ...options, resultTypes: ["violations"] }),
    options,
  );
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`),
  );
}

/** What the page has to show is there. */
async function settled({ page, t }: Visit) {
  await page.locator("h1").first().waitFor({ state: "attached" });
  await page
    .getByRole("status", { name: t("loading") })
    .first()
    .waitFor({ state: "detached" });
}

/** Nothing is wrong with the page as it stands, in the light and in the dark. */
async function isClean(visited: Visit) {
  const { page, faults } = visited;
  await page.emulateMedia({ colorScheme: "light" });
  expect(await violations(page, ALL), `${page.url()}, light`).toEqual([]);
  await page.emulateMedia({ colorScheme: "dark" });
  expect(await violations(page, COLOURS), `${page.url()}, dark`).toEqual([]);
  expect(faults).toEqual([]);
}

describe.each(LANGUAGES)("in %s", (language) => {
  test.each(PATHS)("%s with something to show", async (path) => {
    const visited = await visit(pathOf(path), { language, user: USER });
    await settled(visited);
    await isClean(visited);
  });
});

test.each(WITHOUT_ROWS)("%s with nothing to show", async (path) => {
  const visited = await visit(path, { user: "user_axe_empty" });
  await settled(visited);
  await isClean(visited);
});

test.each(PATHS)("%s when the server fails", async (path) => {
  const visited = await visit("/login", { language: "zh-CN", user: USER });
  const { page, go } = visited;
  const error = { code: "internal", message: "a defect", request_id: "req_1" };
  await page.route(/\/api\/(?!whoami)|\/health/, (route) =>
    route.fulfill({ status: 500, json: { error } }),
  );
  await page.emulateMedia({ colorScheme: "dark" });
  await go(pathOf(path));
  await settled(visited);
  expect(await violations(page, ALL)).toEqual([]);
  expect(visited.faults).toEqual([]);
});

test("a failure says what to do, and which request it was", async () => {
  const { page, go } = await visit("/login");
  const refusal = { error: { code: "internal", message: "a defect", request_id: "req_1" } };
  await page.route(/\/api\/runs/, (route) => route.fulfill({ status: 500, json: refusal }));
  await go("/runs");
  await page.getByText("req_1").first().waitFor();
});

test("menus that are open", async () => {
  const visited = await visit("/", { language: "zh-CN", user: USER });
  const { page, t } = visited;
  await page.keyboard.press("Control+K");
  await page.getByRole("combobox").waitFor();
  await isClean(visited);
  await page.keyboard.press("Escape");
  await page.getByTitle(t("scope.hint")).click();
  await page.getByLabel(t("scope.user_id")).waitFor();
  await isClean(visited);
});

test("who may not is told which right is missing, and sees no place that needs it", async () => {
  const visited = await visit("/login", { user: USER });
  const { page, go, t } = visited;
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
  await isClean(visited);
});
