// Pictures of every page, in both languages and themes, for docs/images: `PICTURES=all
// scripts/browser-tests.sh` makes them, `PICTURES=trace,chat` those of these pages.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { describe, inject, test } from "vitest";
import type { Language } from "~/preferences";
import { settled } from "./accessibility";
import { ask, ended, finishedRun, LANGUAGES, type Visit, visit, withBrowser } from "./visit";

withBrowser();

const FOLDER = join(import.meta.dirname, "../../docs/images");
/** Small, and legible still. */
const FORMAT = { format: "webp", quality: 72 } as const;
const SIZE = { width: 1280, height: 800 };

/** What people of a language say and know. */
const SAID: Record<Language, { user: string; report: string; question: string; facts: string[] }> =
  {
    en: {
      user: "lin",
      report: "Go through my notes and write the weekly report.",
      question: "Remember: the weekly report goes out on Friday at 16:00.",
      facts: [
        "Weekly reports have three parts: progress, risks, next week. At most 400 words.",
        "Works in UTC+8; standup at 10:00. Prefers Rust over Go for services.",
        "Q3 review: the queue stalled because a lease was not renewed during long tool calls.",
      ],
    },
    "zh-CN": {
      user: "li",
      report: "整理我的笔记，写一份周报。",
      question: "请记住：周报每周五 16:00 发出。",
      facts: [
        "周报分三段：进展、风险、下周计划，不超过 400 字。",
        "在东八区工作，10:00 站会；写服务更喜欢 Rust 而不是 Go。",
        "三季度复盘：长工具调用期间租约没有续期，队列停住了。",
      ],
    },
  };
const LAYERS = ["core", "core", "archival"];
const QUERY: Record<Language, string> = { en: "weekly report", "zh-CN": "周报怎么写" };

/** A run with a report, and what is around it; what stands for rows in a path. */
async function made(language: Language): Promise<Record<string, string>> {
  const address = inject("address");
  const { user, report, question, facts } = SAID[language];
  const memories: string[] = [];
  for (const [place, text] of facts.entries()) {
    const body = { type: LAYERS[place], text, importance: 0.7 };
    memories.push((await ask(address, user, "/api/memories", body)).id);
  }
  const text = `${facts[0]} ${language === "en" ? "In English." : "用中文。"}`;
  await fetch(`${address}/api/memories/${memories[0]}`, {
    method: "PATCH",
    headers: {
      "content-type": "application/json",
      "x-org-id": "org_default",
      "x-user-id": user,
    },
    body: JSON.stringify({ text }),
  });
  const demo = { agent_id: "demo", session_key: "s_weekly" };
  await finishedRun(address, user, { ...demo, input: question });
  const run = await finishedRun(address, user, { input: report, session_key: "s_notes" });
  await finishedRun(address, user, { input: "fail", session_key: "s_broken" });
  const fork = await ask(address, user, `/api/runs/${run}/fork`, { from_step: 0 });
  await ended(address, user, fork.run_id);
  await ask(address, user, "/api/keys", { name: `ci ${user}`, rights: ["runs:read"] });
  return { RUN: run, FORK: fork.run_id, MEMORY: memories[0]! };
}

const PAGES: [
  name: string,
  path: string,
  before?: (page: Page, visited: Visit) => Promise<void>,
][] = [
  ["start", "/"],
  ["sessions", "/sessions"],
  ["chat", "/sessions/s_notes"],
  ["runs", "/runs"],
  [
    "trace",
    "/runs/RUN",
    async (page) => {
      await page.getByRole("treegrid").focus();
      await page.keyboard.press("e");
      await page.locator('[role="row"][aria-selected="true"]').waitFor();
      await page.getByRole("treegrid").blur();
    },
  ],
  [
    "context",
    "/runs/RUN?tab=context",
    async (page, { t }) => {
      const task = new RegExp(`^${t("segment.task")}`);
      await page.getByRole("button", { name: task }).click();
      await page.getByRole("region", { name: "user" }).waitFor();
    },
  ],
  ["checkpoints", "/runs/RUN?tab=checkpoints"],
  ["events", "/runs/RUN?tab=events"],
  ["compare", "/runs/RUN/compare/FORK"],
  ["memory", "/memory?q=QUERY"],
  ["memory-one", "/memory/MEMORY"],
  ["queue", "/queue"],
  ["usage", "/usage"],
  ["agents", "/agents"],
  ["tools", "/tools"],
  ["keys", "/keys"],
  ["audit", "/audit"],
  ["settings", "/settings"],
  ["login", "/login"],
];

const asked = process.env.PICTURES?.split(",") ?? [];
const isAsked = (name: string) => asked.includes("all") || asked.includes(name);

describe.each(LANGUAGES)("in %s", (language) => {
  test("every page has its pictures", async () => {
    const rows: Record<string, string> = { ...(await made(language)), QUERY: QUERY[language] };
    const { user } = SAID[language];
    await mkdir(FOLDER, { recursive: true });
    const visited = await visit("/login", { language, user, size: SIZE });
    const { page, context } = visited;
    const protocol = await context.newCDPSession(page);
    for (const [name, path, before] of PAGES.filter(([name]) => isAsked(name))) {
      await page.emulateMedia({ colorScheme: "light" });
      await visited.go(path.replace(/RUN|FORK|MEMORY|QUERY/g, (row) => rows[row] ?? row));
      await settled(visited);
      if (name !== "login") await page.getByTitle(visited.t("scope.hint")).waitFor();
      await page.evaluate(() => document.fonts.ready);
      await before?.(page, visited);
      for (const theme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme: theme });
        // Two frames: the minimap is drawn after the first.
        await page.evaluate(
          () => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))),
        );
        const { data } = await protocol.send("Page.captureScreenshot", FORMAT);
        const parts = [name, language === "en" ? "" : "zh", theme === "light" ? "" : "dark"];
        const file = `${parts.filter(Boolean).join("-")}.webp`;
        await writeFile(join(FOLDER, file), Buffer.from(data, "base64"));
      }
    }
  }, 900_000);
});
