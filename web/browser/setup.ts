// Before all tests: a model, a server and a browser.

import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { startModel } from "./model";
import { Server } from "./server";

declare module "vitest" {
  interface ProvidedContext {
    address: string;
    model: string;
    browser: string;
  }
}

export default async function setup({ provide }: TestProject) {
  const model = await startModel();
  const server = await Server.start(model.url);
  const browser = await chromium.launchServer({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
  });
  provide("address", server.address);
  provide("model", model.url);
  provide("browser", browser.wsEndpoint());
  return async () => {
    await browser.close();
    await server.remove();
    model.stop();
  };
}
