// The web page in a real browser, on the built executable with its own database.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

let folder, server, address, browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "openintern-web-"));
  await chmod(folder, 0o755); // The database runs as another user when we are root.
  await start({});
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
  });
});

after(async () => {
  await browser?.close();
  await stop();
  await rm(folder, { recursive: true, force: true });
});

async function start(settings) {
  server = spawn(process.env.OPENINTERN, ["dev", "--port", "0", "--data-dir", folder], {
    env: { ...process.env, OPENINTERN_MODEL: "demo/default", ...settings },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: server.stdout })) {
    address = line.replace(/^listening on /, "");
    break;
  }
  assert.match(address, /^http:/, "the server says where it listens");
}

async function stop() {
  if (server?.exitCode === null) {
    server.kill("SIGTERM");
    await new Promise((ended) => server.once("exit", ended));
  }
}

// A page, and everything that went wrong on it.
async function open(path, options = {}) {
  const context = await browser.newContext({ locale: "zh-CN", ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("requestfailed", (request) => faults.push(`failed: ${request.url()}`));
  page.on("response", (response) => {
    if (response.status() >= 400) faults.push(`${response.status()}: ${response.url()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(address)) faults.push(`outside: ${request.url()}`);
  });
  await page.goto(address + path, { waitUntil: "networkidle" });
  return { page, faults };
}

test("the page loads without a failed request and asks for a task", async () => {
  const { page, faults } = await open("/");
  assert.equal(await page.locator("textarea").count(), 1);
  assert.match(page.url(), /session=s_/, "the session is in the address");
  assert.equal((await page.request.get(`${address}/favicon.svg`)).status(), 200);
  assert.deepEqual(faults, []);
});

test("Enter sends, the answer comes live, and a reload shows it again", async () => {
  const { page, faults } = await open("/?session=s_reload");
  await page.locator("textarea").fill("请记住：小李喜欢绿茶");
  await page.locator("textarea").press("Enter");
  await page.getByText("我记住了").waitFor();
  await page.getByText("memory_write").first().waitFor();
  await page.reload({ waitUntil: "networkidle" });
  await page.getByText("请记住：小李喜欢绿茶").first().waitFor();
  await page.getByText("我记住了").waitFor();
  assert.deepEqual(faults, []);
});

test("Shift+Enter starts a line, and Enter that ends a composition does not send", async () => {
  const { page } = await open("/?session=s_ime");
  const input = page.locator("textarea");
  await input.fill("一");
  await input.press("Shift+Enter");
  assert.equal(await input.inputValue(), "一\n");
  await input.dispatchEvent("keydown", { key: "Enter", isComposing: true, bubbles: true });
  await input.dispatchEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true });
  assert.equal(await input.inputValue(), "一\n", "nothing was sent");
});

test("what a user or a model says is text, never markup", async () => {
  const { page, faults } = await open("/?session=s_markup");
  const markup = '记住：<img src=x onerror="document.title=1"><b id="bold">粗</b>';
  await page.locator("textarea").fill(markup);
  await page.locator("textarea").press("Enter");
  await page.getByText(/我记住了|I will remember/).waitFor();
  assert.equal(await page.locator("#bold").count(), 0);
  assert.notEqual(await page.title(), "1");
  assert.deepEqual(faults, []);
});

test("the page speaks English to whoever does", async () => {
  const { page } = await open("/", { locale: "en-GB" });
  assert.equal(await page.locator("html").getAttribute("lang"), "en");
});

test("where keys are needed the page asks for one, once, and goes on", async () => {
  const made = await fetch(`${address}/api/keys`, {
    method: "POST",
    headers: { "x-org-id": "org_of_key", "content-type": "application/json" },
    body: JSON.stringify({ name: "any user", rights: ["runs:read", "runs:write"] }),
  });
  const { key } = await made.json();
  await stop();
  await start({ OPENINTERN__SERVER__AUTH: "keys" });

  const { page } = await open("/?session=s_keys");
  const field = page.locator("#key");
  await field.fill("oi_wrong");
  await field.press("Enter");
  await page.getByText("密钥无效").waitFor();
  await field.fill(key);
  await page.locator("#open").click();
  await page.getByText("回车发送").waitFor();
  assert.equal(await page.locator("dialog[open]").count(), 0);
  assert.equal(await page.evaluate(() => document.cookie), "");

  await page.locator("textarea").fill("请记住：小王喜欢红茶");
  await page.locator("textarea").press("Enter");
  await page.getByText("我记住了").waitFor();
  await page.reload({ waitUntil: "networkidle" });
  await page.getByText("我记住了").waitFor();
  assert.equal(await page.locator("dialog[open]").count(), 0, "the cookie is still good");
});
