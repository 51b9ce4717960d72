// A fork beside its origin, and any two runs.

import { describe, expect, inject, test } from "vitest";
import { ask, ended, finishedRun, LANGUAGES, visit, withBrowser } from "./visit";

withBrowser();

describe.each(LANGUAGES)("in %s", (language) => {
  test("a fork is compared with its origin from the step where they part", async () => {
    const user = `user_compare_${language}`;
    const address = inject("address");
    const body = { input: "calls 2x2", session_key: "s_compare" };
    const origin = await finishedRun(address, user, body);
    const forked = { from_step: 2, input: "other words" };
    const made = await ask(address, user, `/api/runs/${origin}/fork`, forked);
    const fork = made.run_id as string;
    await ended(address, user, fork);

    const { page, t, faults } = await visit(`/runs/${fork}`, { language, user });
    await page.getByRole("link", { name: t("compare.with_origin") }).click();
    await page.waitForURL(`**/runs/${origin}/compare/${fork}`);
    await page.getByText(t("compare.shared", { n: 2 })).waitFor();
    const step = (n: number) =>
      page.getByRole("button", { name: new RegExp(`${t("span.step", { n })}.*`) });
    await step(3).waitFor();
    expect(await step(1).count(), "what they share is not listed").toBe(0);
    expect(await step(3).getAttribute("aria-expanded")).toBe("true");
    expect(await step(3).innerText()).toContain(t("compare.differs.step"));
    await page.locator("ins").filter({ hasText: "other" }).first().waitFor();
    await page.locator("del").first().waitFor();

    const figures = page.getByRole("row").filter({ hasText: t("usage.output") });
    expect(await figures.getByRole("cell").allInnerTexts()).toEqual(["180", "180", "="]);

    await step(3).click();
    await step(3).click();
    expect(page.url()).toContain("step=3");
    await page.getByRole("link", { name: t("compare.swap") }).click();
    await page.waitForURL(`**/runs/${fork}/compare/${origin}`);
    await page.locator("del").filter({ hasText: "other" }).first().waitFor();
    expect(faults).toEqual([]);
  });
});

test("any two runs are compared, and what only one of them did is on its side", async () => {
  const user = "user_compare_any";
  const address = inject("address");
  const long = await finishedRun(address, user, { input: "calls 1x1", session_key: "s_long" });
  const short = await finishedRun(address, user, { input: "hello", session_key: "s_short" });
  const { page, t, faults } = await visit(`/runs/${long}?tab=checkpoints`, { user });
  await page.getByRole("textbox", { name: t("compare.other") }).fill(short);
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/runs/${long}/compare/${short}`);
  await page.getByText(t("compare.unrelated")).waitFor();
  await page.getByRole("heading", { name: t("compare.inputs") }).waitFor();
  await page.getByText(t("compare.left.step"), { exact: true }).waitFor();
  await page.getByText(t("compare.absent")).waitFor();
  await page.goto(`${address}/runs/${short}/compare/${short}`);
  await page.getByText(t("compare.identical")).waitFor();
  expect(faults).toEqual([]);
});

test("of two runs of which one is not there, the other is shown", async () => {
  const user = "user_compare_absent";
  const address = inject("address");
  const run = await finishedRun(address, user, { input: "hello", session_key: "s_one" });
  const stranger = await finishedRun(address, "user_stranger", { input: "x", session_key: "s_x" });
  const { page, t, faults } = await visit(`/runs/${run}/compare/${stranger}`, { user });
  await page.getByRole("alert").getByText(t("error.not_found")).waitFor();
  await page.getByText(t("status.completed")).waitFor();
  expect(await page.getByRole("heading", { name: t("steps") }).count()).toBe(0);
  expect(faults).toEqual([]);
});
