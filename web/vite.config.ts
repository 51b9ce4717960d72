// Builds what the executable embeds: hashed assets, each with its compressed twin.

import { createReadStream, createWriteStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The server that `npm run dev` asks; `make dev` starts it. */
const SERVER = process.env.OPENINTERN_URL ?? "http://127.0.0.1:3000";

export default defineConfig({
  plugins: [react(), tailwindcss(), compressed()],
  resolve: {
    alias: {
      "~": join(import.meta.dirname, "src"),
      "react-style-singleton": join(import.meta.dirname, "src/ui/style-singleton.ts"),
    },
  },
  build: { target: "es2022", reportCompressedSize: false },
  worker: { format: "es" },
  server: {
    port: 5173,
    proxy: Object.fromEntries(
      ["/api", "/health", "/docs", "/openapi.json"].map((path) => [
        path,
        // As if its own page had asked: it answers no other.
        { target: SERVER, changeOrigin: true, headers: { origin: SERVER } },
      ]),
    ),
  },
  test: {
    projects: [
      { extends: true, test: { name: "pure", environment: "node", include: ["tests/*.test.ts"] } },
      {
        extends: true,
        test: {
          name: "components",
          testTimeout: 30_000,
          environment: "jsdom",
          include: ["tests/*.test.tsx"],
          setupFiles: ["tests/setup.ts"],
        },
      },
    ],
  },
});

/** Writes `x.gz` beside every text file: the server sends it as it is. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    async writeBundle({ dir }) {
      const names = await readdir(dir!, { recursive: true });
      const texts = names.filter((name) => /\.(js|css|html|svg)$/.test(name));
      await Promise.all(
        texts.map((name) =>
          pipeline(
            createReadStream(join(dir!, name)),
            createGzip({ level: constants.Z_BEST_COMPRESSION }),
            createWriteStream(join(dir!, `${name}.gz`)),
          ),
        ),
      );
    },
  };
}
