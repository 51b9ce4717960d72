// Hands on the keyboard: input methods, and everything without a mouse.

import { expect, inject, test } from "vitest";
import { finishedRun, visit, withBrowser } from "./visit";

withBrowser();

test("Enter while an input method composes sends nothing", async () => {
  const { page, context, t } = await visit("/sessions/s_ime", { language: "zh-CN" });
  const box = page.getByRole("textbox", { name: t("chat.message") });
  await box.focus();
  const protocol = await context.newCDPSession(page);
  await protocol.send("Input.imeSetComposition", {
    text: "nihao",
    selectionStart: 5,
    selectionEnd: 5,
  });
  await page.keyboard.press("Enter");
  expect(await page.getByRole("article").count()).toBe(0);
  await protocol.send("Input.insertText", { text: "你好" });
  expect(await box.inputValue()).toContain("你好");
  await page.keyboard.press("Shift+Enter");
  expect(await box.inputValue()).toMatch(/\n$/);
  expect(await page.getByRole("article").count(), "nothing was sent").toBe(0);

  const search = await visit("/memory", { language: "zh-CN" });
  await search.page.getByRole("searchbox").focus();
  const asked: string[] = [];
  search.page.on("request", (request) => {
    if (request.url().endsWith("/search")) asked.push(request.postData() ?? "");
  });
  const composing = await search.context.newCDPSession(search.page);
  await composing.send("Input.imeSetComposition", {
    text: "zhoubao",
    selectionStart: 7,
    selectionEnd: 7,
  });
  await composing.send("Input.insertText", { text: "周报" });
  await search.page.waitForRequest((request) => request.url().endsWith("/search"));
  expect(asked.join()).not.toContain("zhoubao");
});

test("from a message to the next error, without a mouse", async () => {
  const { page, t } = await visit("/");
  await page.keyboard.type("calls 2x6");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: t("chat.trace") }).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/runs\//);
  const grid = page.getByRole("treegrid");
  await grid.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("e");
  const selected = page.locator('[role="row"][aria-selected="true"]');
  await selected.filter({ hasText: "read_file" }).waitFor();
  await page.keyboard.press("ArrowLeft");
  await selected.filter({ hasText: "step 1" }).waitFor();
  const before = Number(await grid.getAttribute("aria-rowcount"));
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(
    (count) =>
      Number(document.querySelector("[role=treegrid]")?.getAttribute("aria-rowcount")) < count,
    before,
  );
  await page.keyboard.press("s");
  await page.keyboard.press("$");
  await selected.filter({ hasText: "lab/test" }).waitFor();
  await page.keyboard.press("Escape");
  expect(await grid.evaluate((element) => element === document.activeElement)).toBe(true);
  await page.keyboard.press("g");
  await page.keyboard.press("m");
  await page.waitForURL(/\/memory/);
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: t("keyboard.help") }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+K");
  await page.getByRole("combobox").waitFor();
  await page.keyboard.type(t("nav.usage"));
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/usage/);
});

test("single keys are for those who want them, and never in a field", async () => {
  const address = inject("address");
  const user = "user_keys";
  await finishedRun(address, user, { input: "hello", session_key: "s_k" });
  const { page, t } = await visit("/settings", { user });
  await page
    .getByRole("group", { name: t("single_keys") })
    .getByText(t("off"))
    .click();
  await page.keyboard.press("g");
  await page.keyboard.press("r");
  expect(page.url()).toContain("/settings");
});

test("a small window has everything, and nothing to scroll sideways", async () => {
  const { page, t } = await visit("/runs", { size: { width: 390, height: 800 } });
  await page.getByRole("button", { name: t("nav") }).click();
  await page.getByRole("link", { name: t("nav.memory") }).click();
  await page.waitForURL(/\/memory/);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  expect(wide).toBe(false);
});
