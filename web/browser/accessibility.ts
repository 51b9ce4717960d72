// What axe finds on a page, and what the pages show meanwhile.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { AxeResults, RunOptions } from "axe-core";
import type { Page } from "playwright-core";
import { expect, inject } from "vitest";
import type { Language } from "~/preferences";
import { ask, ended, finishedRun, type Visit, wordsOf } from "./visit";

/** Of the rules, one looks at colours: it alone has something else to say of another theme. */
const ALL: RunOptions = { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] };
const COLOURS: RunOptions = { runOnly: { type: "rule", values: ["color-contrast"] } };

const AXE = readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Every page; `RUN`, `FORK` and `MEMORY` stand for rows that `someRows` makes. */
export const PATHS = [
  "/",
  "/sessions",
  "/sessions/s_axe",
  "/runs",
  "/runs?peek=RUN",
  "/runs/RUN",
  "/runs/RUN?tab=chat",
  "/runs/RUN?tab=context",
  "/runs/RUN?tab=checkpoints",
  "/runs/RUN?tab=events",
  "/runs/RUN/compare/FORK",
  "/memory",
  "/memory?q=tea",
  "/memory?q=tea&why=MEMORY",
  "/memory/MEMORY",
  "/queue",
  "/usage",
  "/usage?of=organisation&by=user&days=1&figure=latency",
  "/agents",
  "/tools",
  "/tools?tool=memory_search",
  "/keys",
  "/audit",
  "/settings",
  "/login",
  "/memory/mem_x/nowhere",
];

/** Something to show on every page; what stands for the rows in a path. */
export async function someRows(user: string): Promise<Record<string, string>> {
  const address = inject("address");
  const run = await finishedRun(address, user, { input: "calls 2x4", session_key: "s_axe" });
  const fork = await ask(address, user, `/api/runs/${run}/fork`, { from_step: 1 });
  await ended(address, user, fork.run_id);
  await finishedRun(address, user, { input: "fail", session_key: "s_axe" });
  const memory = await ask(address, user, "/api/memories", { type: "core", text: "green tea" });
  await ask(address, user, "/api/keys", { name: "axe", rights: ["runs:read"] });
  return { RUN: run, FORK: fork.run_id, MEMORY: memory.id };
}

async function violations(page: Page, options: RunOptions): Promise<string[]> {
  const isThere = await page.evaluate("'axe' in window");
  if (!isThere) await page.evaluate(`(() => { ${await AXE} })()`);
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
export async function settled({ page, t }: Visit) {
  await page.locator("h1").first().waitFor({ state: "attached" });
  await page
    .getByRole("status", { name: t("loading") })
    .first()
    .waitFor({ state: "detached" });
}

/** Nothing is wrong with the page as it stands, in the light and in the dark. */
export async function isClean({ page, faults }: Visit) {
  await page.emulateMedia({ colorScheme: "light" });
  expect.soft(await violations(page, ALL), `${page.url()}, light`).toEqual([]);
  await page.emulateMedia({ colorScheme: "dark" });
  expect.soft(await violations(page, COLOURS), `${page.url()}, dark`).toEqual([]);
  expect(faults).toEqual([]);
}

/** Nor is there in its language, once it has settled, or in the other one. */
export async function isCleanInBoth(visited: Visit, other: Language) {
  await settled(visited);
  await isClean(visited);
  const spoken = await speak(visited, other);
  await settled(spoken);
  await isClean(spoken);
}

/** Goes on in another language, as if another tab had chosen it. */
async function speak(visited: Visit, language: Language): Promise<Visit> {
  const { page } = visited;
  await page.evaluate((language) => {
    const key = "openintern.preferences";
    localStorage.setItem(key, JSON.stringify({ language }));
    dispatchEvent(new StorageEvent("storage", { key }));
    // The next visit is in the language of its browser again.
    localStorage.removeItem(key);
  }, language);
  await page.locator(`html[lang="${language}"]`).waitFor({ state: "attached" });
  return { ...visited, t: wordsOf(language) };
}
