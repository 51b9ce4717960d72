// Every page with nothing to show, and when the server fails: no violation of WCAG 2.2 AA that axe finds,
// nothing that the page's policy forbids, and words that say what is the matter.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isClean, PATHS, settled } from "./accessibility";
import { visit, withBrowser } from "./visit";

const USER = "user_axe_bare";

withBrowser({ warm: true });

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
  await go(path.replace(/RUN|FORK/g, "run_1").replace("MEMORY", "mem_1"));
  await settled(visited);
  await isClean(visited);
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
