// What people come for, from end to end, in both languages.

import { describe, expect, inject, test } from "vitest";
import { openGate, WHOLE } from "./model";
import { ask, finishedRun, LANGUAGES, visit, withBrowser } from "./visit";

withBrowser();

describe.each(LANGUAGES)("in %s", (language) => {
  test("a first message is answered, and leads to its trace", async () => {
    const { page, t, faults } = await visit("/", { language });
    await page.getByRole("textbox", { name: t("chat.message") }).fill("你好 hello");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/sessions\/s_/);
    await page.getByText("You said:").waitFor();
    await page.getByTitle(t("chat.context.hint")).click();
    await page.waitForURL(/\/runs\/run_.*tab=context/);
    await page.getByRole("button", { name: new RegExp(`^${t("segment.system")}`) }).waitFor();
    await page.goBack();
    await page.getByRole("link", { name: t("chat.trace") }).click();
    await page.waitForURL(/\/runs\/run_/);
    await page
      .getByRole("row")
      .filter({ hasText: t("span.step", { n: 1 }) })
      .waitFor();
    await page.getByRole("row").filter({ hasText: "lab/test" }).click();
    await page.getByRole("tab", { name: t("inspector.output") }).click();
    await page.getByRole("tabpanel").getByText("You said:").waitFor();
    expect(page.url()).toContain("span=");
    expect(await page.locator("html").getAttribute("lang")).toBe(language);
    expect(faults).toEqual([]);
  });

  test("an answer is stopped in the middle, and asked for again", async () => {
    const gate = `stop-${language}`;
    const { page, t, faults } = await visit("/sessions/s_stop", { language });
    const box = page.getByRole("textbox", { name: t("chat.message") });
    await box.fill(`gate ${gate}`);
    await box.press("Enter");
    await page.getByText("The first half is").waitFor();
    await page.getByRole("button", { name: t("chat.stop") }).click();
    await page.getByText(t("chat.cancelled")).waitFor();
    await openGate(inject("model"), gate);
    await page.getByRole("button", { name: t("chat.retry") }).click();
    await page.getByText("And the second half").waitFor();
    await page.getByRole("link", { name: t("chat.trace") }).waitFor();
    await page.getByRole("button", { name: t("chat.version.before") }).click();
    await page.getByText(t("chat.cancelled")).waitFor();
    await page.getByRole("button", { name: t("chat.edit") }).click();
    await page.getByText(t("chat.editing")).waitFor();
    await box.fill("other words");
    await box.press("Enter");
    await page.getByText('You said: "other words"').waitFor();
    await page.getByText(t("chat.version", { n: 3, of: 3 })).waitFor();
    expect(faults).toEqual([]);
  });

  test("a message to a busy session waits, or takes its place", async () => {
    const gate = `busy-${language}`;
    const { page, t, faults } = await visit("/sessions/s_busy", { language });
    const box = page.getByRole("textbox", { name: t("chat.message") });
    await box.fill(`gate ${gate}`);
    await box.press("Enter");
    await page.getByText("The first half is").waitFor();
    await box.fill("second");
    await box.press("Enter");
    await page.getByRole("button", { name: t("busy.queue") }).click();
    await page.getByText(t("chat.queued")).waitFor();
    await box.fill("third");
    await box.press("Enter");
    await page.getByRole("button", { name: t("busy.interrupt") }).click();
    await page.getByText('You said: "third"').waitFor();
    await page.getByText(t("chat.cancelled")).first().waitFor();
    await openGate(inject("model"), gate);
    expect(faults).toEqual([]);
  });

  test("a memory is found, edited, used by the next run, and forgotten", async () => {
    const user = `user_memory_${language}`;
    const { page, t, faults, go, address } = await visit("/memory", { language, user });
    await page.getByText(t("memory.empty")).waitFor();
    await page.getByRole("button", { name: t("memory.write") }).click();
    await page.getByRole("dialog").getByLabel(t("memory.text")).fill("小李喜欢绿茶 green tea");
    await page
      .getByRole("dialog")
      .getByRole("button", { name: t("memory.write") })
      .click();
    await page.getByRole("dialog").waitFor({ state: "detached" });

    await page.getByRole("searchbox", { name: t("memory.search") }).fill("绿茶");
    await page.getByText(t("score.words")).first().waitFor();
    await page.getByRole("link", { name: /小李喜欢/ }).click();
    await page.getByRole("button", { name: t("edit"), exact: true }).click();
    await page.getByLabel(t("memory.text")).fill("小李喜欢红茶 black tea");
    await page.getByRole("button", { name: t("save") }).click();
    await page.getByRole("heading", { name: t("memory.versions") }).waitFor();
    await page.getByText("小李喜欢绿茶 green tea").waitFor();

    const asking = { input: "小李喜欢什么茶？", agent_id: "demo", session_key: "s_tea" };
    const first = await finishedRun(address, user, asking);
    const { output } = await ask(address, user, `/api/runs/${first}`);
    expect(output).toContain("红茶");
    await go("/sessions/s_tea");
    await page
      .getByRole("button", { name: t("chat.recalled", { n: 1 }) })
      .first()
      .click();
    await page.getByRole("link", { name: /小李喜欢红茶/ }).click();

    await page.clock.install();
    await page.getByRole("button", { name: t("memory.forget") }).click();
    await page.getByRole("button", { name: t("undo") }).click();
    await page.getByRole("link", { name: /小李喜欢红茶/ }).click();
    await page.getByRole("button", { name: t("memory.forget") }).click();
    await page.getByText(t("memory.forgetting")).waitFor();
    const gone = page.waitForResponse((response) => response.request().method() === "DELETE");
    await page.clock.fastForward(11_000);
    expect((await gone).status()).toBe(204);
    const { hits } = await ask(address, user, "/api/memories/search", { query: "红茶" });
    expect(hits.map(({ snippet }: { snippet: string }) => snippet)).not.toContain(
      "小李喜欢红茶 black tea",
    );
    expect(faults).toEqual([]);
  });

  test("runs are filtered in the address, looked at, and opened by keyboard", async () => {
    const user = `user_runs_${language}`;
    const address = inject("address");
    await finishedRun(address, user, { input: "one", session_key: "s_1" });
    await finishedRun(address, user, { input: "two", session_key: "s_2" });
    const { page, t, faults } = await visit("/runs", { language, user });
    await page.getByRole("row").filter({ hasText: "two" }).waitFor();
    await page.getByRole("searchbox", { name: t("runs.search") }).fill("on");
    await page.getByRole("row").filter({ hasText: "two" }).waitFor({ state: "detached" });
    await page.getByRole("row").filter({ hasText: "one" }).waitFor();
    expect(page.url()).toContain("q=on");
    await page.getByLabel(t("status")).selectOption("failed");
    await page.getByText(t("runs.none")).waitFor();
    expect(page.url()).toContain("status=failed");
    await page.getByRole("button", { name: t("filters.clear") }).click();
    await page.getByRole("row").filter({ hasText: "two" }).waitFor();
    await page.locator("body").click({ position: { x: 700, y: 20 } });
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    const peek = page.getByRole("complementary", { name: t("runs.peek") });
    await peek.getByText("one", { exact: true }).waitFor();
    const third = ask(address, user, "/api/runs", { input: "three", session_key: "s_3" });
    await page.getByRole("button", { name: t("runs.newer", { n: 1 }) }).click();
    await page.getByRole("row").filter({ hasText: "three" }).waitFor();
    await third;
    await peek.getByRole("link", { name: t("runs.open") }).click();
    await page.waitForURL(/\/runs\/run_/);
    expect(faults).toEqual([]);
  });
});

test("a search says why it does not show a memory", async () => {
  const user = "user_why";
  const address = inject("address");
  const { id } = await ask(address, user, "/api/memories", { type: "core", text: "green tea" });
  const { page, t, go, faults } = await visit(`/memory?q=tea&layer=archival&why=${id}`, { user });
  const layer = t("layer.core");
  await page.getByText(t("why.layer", { layer, place: 1 })).waitFor();
  await page.getByText(t("score.words")).first().waitFor();
  await go("/memory?q=tea&why=mem_01h455vb4pex5vsknk084sn02q");
  await page.getByText(t("why.absent")).waitFor();
  await page.getByLabel(t("why.id")).fill(id);
  await page.getByRole("button", { name: t("why.ask") }).click();
  await page.getByText(t("why.shown", { place: 1 })).waitFor();
  expect(page.url()).toContain(id);
  expect(faults).toEqual([]);
});

test("a run is forked from a checkpoint, and what it did is not done again", async () => {
  const user = "user_fork";
  const body = { input: "calls 2x2", session_key: "s_fork" };
  const parent = await finishedRun(inject("address"), user, body);
  const { page, t, faults } = await visit(`/runs/${parent}?tab=checkpoints`, { user });
  await page
    .getByRole("listitem")
    .filter({ has: page.getByRole("heading", { name: t("span.step", { n: 1 }), exact: true }) })
    .getByRole("button", { name: t("fork.here") })
    .click();
  await page.getByRole("button", { name: t("fork.make"), exact: true }).click();
  await page.waitForURL((url) => url.pathname.startsWith("/runs/") && !url.href.includes(parent));
  await page.getByText(t("status.completed")).first().waitFor();
  const fork = new URL(page.url()).pathname.slice("/runs/".length);
  const { events } = await ask(inject("address"), user, `/api/runs/${fork}/events`);
  const called = events.filter(({ type }: { type: string }) => type === "tool.called");
  expect(called, "those of the second step alone").toHaveLength(2);
  await page.getByRole("link", { name: t("run.tab.checkpoints") }).click();
  await page.getByText(t("checkpoints.taken")).waitFor();
  await page.getByRole("link", { name: parent }).click();
  await page.getByRole("link", { name: fork }).waitFor();
  expect(faults).toEqual([]);
});

test("what filled a prompt is shown part by part, with its words", async () => {
  const user = "user_context";
  const body = { input: "calls 1x1", session_key: "s_context" };
  const run = await finishedRun(inject("address"), user, body);
  const { page, t, faults } = await visit(`/runs/${run}?tab=context`, { user });
  await page.getByRole("button", { name: t("span.step", { n: 1 }) }).click();
  expect(page.url()).toContain("step=1");
  await page.getByRole("button", { name: new RegExp(`^${t("segment.task")}`) }).click();
  await page.getByText("calls 1x1").waitFor();
  await page.getByRole("button", { name: new RegExp(`^${t("segment.tools")}`) }).click();
  await page.getByText("memory_search").first().waitFor();
  expect(faults).toEqual([]);
});

test("what was being said is there again after a reload, byte for byte", async () => {
  const { page, t, faults } = await visit("/sessions/s_reload");
  const box = page.getByRole("textbox", { name: t("chat.message") });
  await box.fill("gate reload");
  await box.press("Enter");
  await page.getByText("The first half is").waitFor();
  await page.reload();
  await page.getByText("The first half is").waitFor();
  await openGate(inject("model"), "reload");
  await page.getByText("And the second half").waitFor();
  const live = await page.locator(".prose").innerText();
  await page.getByRole("link", { name: t("chat.trace") }).waitFor();
  await page.reload();
  await page.getByText("And the second half").waitFor();
  expect(await page.locator(".prose").innerText()).toBe(live);
  expect(live).toBe(WHOLE.replaceAll(/\*\*|`/g, ""));
  expect(faults).toEqual([]);
});

test("what is long or cut says so, and the rest is there", async () => {
  const user = "user_cut";
  const long = `${"a long task ".repeat(600)}to the end\ntoo long`;
  await finishedRun(inject("address"), user, { input: long, session_key: "s_cut" });
  const { page, t, faults } = await visit("/sessions/s_cut", { user });
  await page.getByText(t("chat.cut")).waitFor();
  await page.getByText("The beginning of").waitFor();
  const turn = page.getByRole("article");
  expect(await turn.innerText()).not.toContain("to the end");
  await turn.getByRole("button", { name: /4 KB.*7 KB/ }).click();
  await turn.getByText("to the end").waitFor();
  const box = page.getByRole("textbox", { name: t("chat.message") });
  await box.press("ArrowUp");
  await expect.poll(() => box.inputValue()).toBe(long);
  await page.getByRole("link", { name: t("chat.trace") }).click();
  await page.getByText(t("run.cut"), { exact: true }).waitFor();
  expect(faults).toEqual([]);
});

test("another scope sees nothing of the one before", async () => {
  const address = inject("address");
  await finishedRun(address, "user_secret", { input: "the secret plan", session_key: "s_x" });
  const { page, t, faults } = await visit("/runs", { user: "user_secret" });
  await page.getByText("the secret plan").waitFor();
  await page.getByTitle(t("scope.hint")).click();
  await page.getByLabel(t("scope.user_id")).fill("user_other");
  await page.getByRole("button", { name: t("scope.apply") }).click();
  await page.getByText(t("runs.empty")).waitFor();
  expect(await page.getByText("the secret plan").count()).toBe(0);
  expect(faults).toEqual([]);
});
