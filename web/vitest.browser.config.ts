// The tests in a real browser, against the built executable: `scripts/browser-tests.sh` runs them. With
// FIGURES set, what takes how long instead, for bench/README.md; with PICTURES, docs/images is made.

import { join } from "node:path";
import { defineConfig } from "vitest/config";

const kind = process.env.PICTURES ? "pictures" : process.env.FIGURES ? "figures" : "test";
/** A page, the server and its database are busy for each. */
const FILES_AT_ONCE = 2;

export default defineConfig({
  resolve: { alias: { "~": join(import.meta.dirname, "src") } },
  test: {
    environment: "node",
    include: [`browser/*.${kind}.ts`],
    globalSetup: "browser/setup.ts",
    // They share a browser and a server, but no user: what one waits for, another uses.
    maxWorkers: FILES_AT_ONCE,
    // Far beyond what an idle machine takes.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
