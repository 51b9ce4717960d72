// A conversation while it grows, and one that is long: what is drawn, asked for and said aloud.

import { expect, inject, test } from "vitest";
import { finishedRun, visit, withBrowser } from "./visit";

withBrowser();

/** The texts that a screen reader is told of an answer, in their order. */
async function heard(input: string) {
  const { page, t } = await visit("/sessions/s_heard");
  await page.evaluate(() => {
    const heard: string[] = [];
    Object.assign(window, { heard });
    const LINE = "article [role=status]";
    new MutationObserver((changes) => {
      for (const { type, target, addedNodes } of changes) {
        // A text that is set again is read again, the same or not.
        if (type === "characterData" && target.parentElement?.closest(LINE)) {
          heard.push(target.textContent ?? "");
        }
        for (const node of addedNodes) {
          const lines = node instanceof Element ? node.querySelectorAll(LINE) : [];
          for (const line of lines) heard.push(line.textContent ?? "");
        }
      }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await page.getByRole("textbox", { name: t("chat.message") }).fill(input);
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: t("chat.trace") }).waitFor();
  const said = await page.evaluate(() => (window as unknown as { heard: string[] }).heard);
  return { said, t };
}

test("of an answer of many words a screen reader is told its begin and its end", async () => {
  const { said, t } = await heard("stream 400x2");
  expect(said).toEqual([t("chat.working"), t("chat.complete")]);
});

test("of tools a screen reader is told which one runs, and no text twice in a row", async () => {
  const { said, t } = await heard("calls 3x2");
  expect(said[0]).toBe(t("chat.working"));
  expect(said.filter((text) => text === t("chat.complete"))).toHaveLength(1);
  expect(said.at(-1)).toBe(t("chat.complete"));
  expect(said.filter((text, place) => text === said[place - 1])).toEqual([]);
});

test("while an answer grows, what is finished of it stays, and so does what is typed", async () => {
  const { page, t } = await visit("/sessions/s_grows");
  const box = page.getByRole("textbox", { name: t("chat.message") });
  await box.fill("stream 600x5");
  await box.press("Enter");
  await page.locator(".prose p").nth(2).waitFor();
  const first = await page.locator(".prose p").first().elementHandle();
  const typed = "meanwhile I write the next one";
  await box.pressSequentially(typed);
  await page.getByRole("link", { name: t("chat.trace") }).waitFor();
  expect(await box.inputValue()).toBe(typed);
  expect(await first?.evaluate((block) => block.isConnected), "it was not drawn anew").toBe(true);
  expect(await page.locator(".prose").innerText()).toContain("word599");
});

test("a long session opens at its end, and reads what is looked at", async () => {
  const TURNS = 60;
  const user = "user_long_session";
  for (let n = 1; n <= TURNS; n += 1) {
    await finishedRun(inject("address"), user, { input: `turn ${n}.`, session_key: "s_long" });
  }
  const { page, t, go, faults } = await visit("/login", { user });
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await go("/sessions/s_long");
  const last = page.getByText(`You said: "turn ${TURNS}."`);
  await last.waitFor();
  await expect
    .poll(() => last.evaluate((one) => one.getBoundingClientRect().bottom))
    .toBeLessThan(900);
  expect(asked.filter((path) => path.endsWith("/s_long/runs"))).toHaveLength(1);
  expect(asked.filter((path) => path.endsWith("/events")).length).toBeLessThan(TURNS / 2);
  await page.getByRole("log").focus();
  await page.keyboard.press("Home");
  await page.getByRole("button", { name: t("session.earlier") }).click();
  await page.getByText("turn 1.", { exact: true }).waitFor();
  expect(faults).toEqual([]);
});
