// Before all tests: a model, a server, a browser; and a run of ten thousand events, which is made
// while the other tests run.

import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { startModel } from "./model";
import { Server } from "./server";

declare module "vitest" {
  interface ProvidedContext {
    address: string;
    model: string;
    browser: string;
    /** The long run, and its user. */
    long: string;
  }
}

export const LONG_USER = "user_long";

export default async function setup({ provide }: TestProject) {
  const model = await startModel();
  const server = await Server.start(model.url);
  const browser = await chromium.launchServer({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
  });
  const made = await fetch(`${server.address}/api/runs`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-org-id": "org_default",
      "x-user-id": LONG_USER,
    },
    body: JSON.stringify({ input: "calls 78x64", session_key: "s_long" }),
  });
  const { run_id } = (await made.json()) as { run_id: string };
  provide("address", server.address);
  provide("model", model.url);
  provide("browser", browser.wsEndpoint());
  provide("long", run_id);
  return async () => {
    await browser.close();
    await server.remove();
    model.stop();
  };
}
