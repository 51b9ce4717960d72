// The tests in a real browser, against the built executable: `scripts/browser-tests.sh` runs them. With
// FIGURES set, what takes how long instead, for bench/README.md.

import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { alias: { "~": join(import.meta.dirname, "src") } },
  test: {
    environment: "node",
    include: [process.env.FIGURES ? "browser/*.figures.ts" : "browser/*.test.ts"],
    globalSetup: "browser/setup.ts",
    // One browser and one server: their tests would only wait for each other.
    fileParallelism: false,
    // Far beyond what an idle machine takes.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
