// Where keys are needed: logging in, and keys that are made and revoked on the page.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { EXECUTABLE, Server } from "./server";
import { finishedRun, LANGUAGES, visit, withBrowser } from "./visit";

withBrowser();

const SPAN = /[0-9a-f]{16}/;
let server: Server;
let admin = "";
let bound = "";
let run = "";

beforeAll(async () => {
  server = await Server.start(inject("model"));
  run = await finishedRun(server.address, "user_key", { input: "hello", session_key: "s_key" });
  admin = await keyOf({ name: "admin", rights: ["admin"] });
  bound = await keyOf({ name: "reader", rights: ["runs:read"], user_id: "user_key" });
  await server.stop();
  await server.resume({ OPENINTERN__SERVER__AUTH: "keys" });
});

afterAll(() => server?.remove());

async function keyOf(body: object): Promise<string> {
  const response = await fetch(`${server.address}/api/keys`, {
    method: "POST",
    headers: { "x-org-id": "org_default", "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return ((await response.json()) as { key: string }).key;
}

/** What the command line says of runs, with this key; its exit code. */
async function commandLine(key: string): Promise<number> {
  const env = { ...process.env, AGENT_API_URL: server.address, OPENINTERN_API_KEY: key };
  const done = promisify(execFile)(EXECUTABLE, ["runs", "list", "--json"], { env });
  return done.then(
    () => 0,
    ({ code }: { code: number }) => code,
  );
}

describe.each(LANGUAGES)("in %s", (language) => {
  test("a link to a span leads there by way of the login", async () => {
    const { page, t, faults, address } = await visit("/login", {
      language,
      address: server.address,
      user: "user_key",
    });
    await page.goto(`${address}/runs/${run}`);
    await page.getByLabel(t("login.key")).fill("oi_wrong");
    await page.keyboard.press("Enter");
    await page.getByText(t("login.wrong")).waitFor();
    await page.getByLabel(t("login.key")).fill(bound);
    await page.keyboard.press("Enter");
    await page.getByRole("row").filter({ hasText: "lab/test" }).click();
    await page.waitForURL(SPAN);
    const link = page.url();
    expect(await page.evaluate(() => document.cookie), "no script can read it").toBe("");

    await page.context().clearCookies();
    await page.goto(link);
    await page.getByLabel(t("login.key")).fill(bound);
    await page.keyboard.press("Enter");
    await page.getByRole("tab", { name: t("inspector.output") }).waitFor();
    expect(page.url()).toBe(link);
    await page.locator('[role="row"][aria-selected="true"]').waitFor();
    expect(await page.getByRole("link", { name: t("nav.keys") }).count()).toBe(0);
    expect(faults).toEqual([]);
  });

  test("a key is made, used, and revoked", async () => {
    const { page, t, go, faults } = await visit("/login", { language, address: server.address });
    await page.getByLabel(t("login.key")).fill(admin);
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: t("nav.keys") }).click();
    await page.getByRole("button", { name: t("keys.create") }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel(t("keys.name")).fill(`键 ${language}`);
    await dialog.getByLabel(t("keys.user")).fill("user_key");
    await dialog.getByRole("button", { name: t("keys.create") }).click();
    const secret = await page.locator("[data-secret]").innerText();
    await page.getByRole("button", { name: t("keys.saved") }).click();
    expect(await commandLine(secret)).toBe(0);

    const row = page.getByRole("row").filter({ hasText: `键 ${language}` });
    await row.getByRole("button", { name: t("keys.revoke") }).click();
    await page
      .getByRole("dialog")
      .getByRole("button", { name: t("keys.revoke") })
      .click();
    await row.getByText(t("keys.revoked")).waitFor();
    expect(await commandLine(secret)).not.toBe(0);
    expect(await page.content()).not.toContain(secret);

    await go("/audit");
    await page.getByText(t("audit.key.revoked")).first().waitFor();
    await go("/settings");
    await page.getByRole("button", { name: t("account.leave") }).click();
    await page.getByLabel(t("login.key")).waitFor();
    expect(faults).toEqual([]);
  });
});
