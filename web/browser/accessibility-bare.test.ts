// Every page with nothing to show, and when the server fails, in both languages and themes: no violation
// of WCAG 2.2 AA that axe finds, nothing that the page's policy forbids, and words that say what is the
// matter.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isClean, isCleanInBoth, PATHS } from "./accessibility";
import { ask, finishedRun, type Visit, visit, withBrowser } from "./visit";

const USER = "user_axe_bare";

withBrowser({ warm: true });

/** Far beyond what all pages take, one after the other. */
const ALL_PAGES_MAX_MS = 900_000;

const WITHOUT_ROWS = PATHS.filter((path) => !/RUN|FORK|MEMORY/.test(path));

test("every route is among the pages that are looked at", async () => {
  const router = await readFile(join(import.meta.dirname, "../src/router.tsx"), "utf8");
  const routes = [...router.matchAll(/^ {2}path: "([^"]+)"/gm)].map(([, path]) => path!);
  expect(routes).toContain("/runs/$id");
  const looked = PATHS.map((path) => new URL(path, "http://page").pathname.split("/"));
  const isLooked = (route: string) => {
    const parts = route.split("/");
    return looked.some(
      (path) =>
        path.length === parts.length &&
        parts.every((part, place) => part.startsWith("$") || part === path[place]),
    );
  };
  expect(routes.filter((route) => !isLooked(route))).toEqual([]);
});

/** One page looks at all the paths: to open it anew for each would take longer than to look. */
async function areClean(visited: Visit, paths: string[]) {
  for (const path of paths) {
    await visited.go(path);
    await isCleanInBoth(visited, "zh-CN");
  }
}

test(
  "every page with nothing to show",
  async () => {
    const visited = await visit("/login", { user: "user_axe_empty" });
    await areClean(visited, WITHOUT_ROWS);
  },
  ALL_PAGES_MAX_MS,
);

test(
  "every page when the server fails",
  async () => {
    const visited = await visit("/login", { user: USER });
    const error = { code: "internal", message: "a defect", request_id: "req_1" };
    await visited.page.route(/\/api\/(?!whoami)|\/health/, (route) =>
      route.fulfill({ status: 500, json: { error } }),
    );
    const paths = PATHS.map((path) =>
      path.replace(/RUN|FORK/g, "run_1").replace("MEMORY", "mem_1"),
    );
    await areClean(visited, paths);
  },
  ALL_PAGES_MAX_MS,
);

test("a failure says what to do, and which request it was", async () => {
  const { page, go } = await visit("/login");
  const refusal = { error: { code: "internal", message: "a defect", request_id: "req_1" } };
  await page.route(/\/api\/runs/, (route) => route.fulfill({ status: 500, json: refusal }));
  await go("/runs");
  await page.getByText("req_1").first().waitFor();
});

test.each([
  ["/memory/MEMORY", /\/api\/memories\/[^/]+\/(links|versions)/, "memory.one", 2],
  ["/usage", /\/api\/runs\/summary/, "usage.over_time", 1],
  ["/", /\/api\/sessions/, "start.title", 1],
] as const)(
  "of %s a part fails, and says so beside the others",
  async (path, part, name, parts) => {
    const { page, address, go, t } = await visit("/login", { user: USER });
    const memory = await ask(address, USER, "/api/memories", { type: "core", text: "green tea" });
    await finishedRun(address, USER, { input: "said" });
    const error = { code: "internal", message: "a defect", request_id: "req_1" };
    await page.route(part, (route) => route.fulfill({ status: 500, json: { error } }));
    await go(path.replace("MEMORY", memory.id));
    await page.getByRole("heading", { name: t(name) }).waitFor();
    await page
      .getByRole("alert")
      .nth(parts - 1)
      .waitFor();
    await page.unroute(part);
    // It asks again by itself.
    await page.getByRole("alert").first().waitFor({ state: "detached" });
  },
);

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
