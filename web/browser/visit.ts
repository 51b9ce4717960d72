// A page in the browser, in a language and a scope, and everything that went wrong on it.

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, inject } from "vitest";
import { en } from "~/i18n/en";
import { type Translate, translator } from "~/i18n/translate";
import { zhCN } from "~/i18n/zh-CN";
import type { Language } from "~/preferences";

export const LANGUAGES: Language[] = ["en", "zh-CN"];
export const wordsOf = (language: Language): Translate =>
  translator(language, language === "en" ? en : zhCN);

export type Options = {
  language?: Language;
  theme?: "light" | "dark";
  user?: string;
  address?: string;
  size?: { width: number; height: number };
  /** False: a browser without shared workers. */
  sharesWorkers?: boolean;
  /** The test moves the clock of the page. */
  clock?: boolean;
};

export type Visit = {
  page: Page;
  context: BrowserContext;
  t: Translate;
  address: string;
  /** What went wrong: errors, violations of the policy, requests to elsewhere. */
  faults: string[];
  go: (path: string) => Promise<void>;
};

let browser: Browser;
let isWarm = false;
const warm = new Map<string, BrowserContext>();

/** Connects the tests of a file to the one browser. A test that fails leaves what its pages said. With
 * `warm`, visits alike share what browsers keep: for many short looks that do not depend on it. */
export function withBrowser(options: { warm?: boolean } = {}): void {
  beforeAll(async () => {
    browser = await chromium.connect(inject("browser"));
    isWarm = options.warm ?? false;
  });
  afterEach(async ({ task }) => {
    const contexts = browser.contexts();
    const pages = contexts.flatMap((context) => context.pages());
    for (const page of pages) {
      if (task.result?.state !== "fail") break;
      console.log(`${page.url()}\n${await page.locator("body").innerText()}`);
    }
    await Promise.all((isWarm ? pages : contexts).map((one) => one.close()));
  });
  afterAll(() => browser?.close());
}

/** Far beyond what anything takes, on a machine that is busy with other things. */
const WAIT_MAX_MS = 60_000;

let visits = 0;

export async function visit(path: string, options: Options = {}): Promise<Visit> {
  const { language = "en", address = inject("address") } = options;
  visits += 1;
  const user = options.user ?? `user_${process.pid}_${visits}`;
  const alike = JSON.stringify({ ...options, user });
  const context = warm.get(alike) ?? (await contextFor(user, options));
  if (isWarm) warm.set(alike, context);
  const page = await context.newPage();
  if (options.clock) await page.clock.install();
  const faults = watched(page, address);
  const go = async (to: string) => {
    await page.goto(address + to);
    await page.locator("main").first().waitFor();
  };
  await go(path);
  return { page, context, t: wordsOf(language), address, faults, go };
}

async function contextFor(user: string, options: Options): Promise<BrowserContext> {
  const { language = "en", theme = "light" } = options;
  const context = await browser.newContext({
    locale: language === "en" ? "en-US" : "zh-CN",
    colorScheme: theme,
    viewport: options.size ?? { width: 1440, height: 900 },
    reducedMotion: "reduce",
  });
  await context.addInitScript((name) => {
    const scope = { org_id: "org_default", user_id: name, project_id: null };
    localStorage.setItem("openintern.scope", JSON.stringify(scope));
  }, user);
  if (options.sharesWorkers === false) {
    await context.addInitScript(() => Reflect.deleteProperty(window, "SharedWorker"));
  }
  context.setDefaultTimeout(WAIT_MAX_MS);
  return context;
}

export function watched(page: Page, address: string): string[] {
  const faults: string[] = [];
  page.on("console", (message) => {
    // What the server refuses, a test looks for itself.
    const isStatus = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isStatus) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => {
    const isOurs = request.url().startsWith(address) || /^(data|blob):/.test(request.url());
    if (!isOurs) faults.push(`outside: ${request.url()}`);
  });
  return faults;
}

/** Asks the API, as the user of a visit. */
export async function ask(address: string, user: string, path: string, body?: unknown) {
  const response = await fetch(address + path, {
    method: body === undefined ? "GET" : "POST",
    headers: {
      "content-type": "application/json",
      "x-org-id": "org_default",
      "x-user-id": user,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  expect(response.ok, `${path}: ${JSON.stringify(answer)}`).toBe(true);
  return answer;
}

/** Makes a run and waits until it has ended. */
export async function finishedRun(address: string, user: string, body: Record<string, unknown>) {
  const { run_id } = await ask(address, user, "/api/runs", body);
  await ended(address, user, run_id);
  return run_id as string;
}

/** Returns once a run has ended. Its stream ends with it, or before where we read too slowly. */
export async function ended(address: string, user: string, runId: string) {
  const query = new URLSearchParams({ org_id: "org_default", user_id: user, deltas: "false" });
  for (let last = 0; ; ) {
    const stream = await fetch(`${address}/api/runs/${runId}/stream?${query}&cursor=${last}`);
    const frames = (await stream.text()).matchAll(/^id: (\d+)$/gm);
    last = Math.max(last, ...[...frames].map(([, id]) => Number(id)));
    if (stream.status === 204) return;
  }
}
