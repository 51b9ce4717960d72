// The tests in a real browser, against the built executable: `scripts/browser-tests.sh` runs them.

import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { alias: { "~": join(import.meta.dirname, "src") } },
  test: {
    environment: "node",
    include: ["browser/*.test.ts"],
    globalSetup: "browser/setup.ts",
    // One browser and one server: their tests would only wait for each other.
    fileParallelism: false,
    // Far beyond what an idle machine takes.
    testTimeout: 300_000,
    hookTimeout: 120_000,
  },
});
