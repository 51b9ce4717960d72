// The built executable with a database of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const EXECUTABLE = process.env.OPENINTERN ?? "../target/debug/openintern";

/** Two agents: one whose model the test leads, however long it stands at a gate, and the demo. */
const settings = (model: string) => `
[model]
default = "lab/test"
[model.providers.lab]
kind = "openai"
base_url = "${model}/v1"
api_key = "none"
idle_timeout_ms = 3600000
[model.prices."lab/test"]
input = 1.2
output = 4.8
[agents.main]
description = "Does as its model is told."
[agents.main.limits]
max_steps = 100
[agents.demo]
description = "Remembers and looks up, offline."
model = "demo/default"
`;

export class Server {
  address = "";
  private process: ChildProcess | null = null;

  private constructor(readonly folder: string) {}

  /** `more` is put behind the settings, told the folder of the server. */
  static async start(model: string, more = (_folder: string) => ""): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), "openintern-browser-"));
    await chmod(folder, 0o755); // The database runs as another user when we are root.
    await writeFile(join(folder, "openintern.toml"), settings(model) + more(folder));
    const server = new Server(folder);
    await server.resume();
    return server;
  }

  /** Starts it again where it was stopped, on another port. */
  async resume(environment: Record<string, string> = {}): Promise<void> {
    const config = join(this.folder, "openintern.toml");
    const parameters = ["dev", "--port", "0", "--data-dir", this.folder, "--config", config];
    this.process = spawn(EXECUTABLE, parameters, {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "ignore"],
    });
    for await (const line of createInterface({ input: this.process.stdout! })) {
      this.address = line.replace(/^listening on /, "");
      break;
    }
    if (!this.address.startsWith("http:")) throw new Error("the server did not start");
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const running = this.process;
    this.process = null;
    if (!running || running.exitCode !== null) return;
    const ended = new Promise((end) => running.once("exit", end));
    running.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
