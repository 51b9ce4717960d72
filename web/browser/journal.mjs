// An MCP server with one tool, which writes each of its calls into a file: what it was really asked,
// whatever the runtime believes.

import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [file] = process.argv.slice(2);
const say = (message) =>
  process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);

const NOTE = {
  name: "note",
  description: "Notes that it was called.",
  inputSchema: { type: "object", properties: { id: { type: "string" } }, required: ["id"] },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  if (method === "initialize") {
    const { protocolVersion } = params;
    const serverInfo = { name: "journal", version: "1" };
    say({ id, result: { protocolVersion, capabilities: { tools: {} }, serverInfo } });
  } else if (method === "tools/list") say({ id, result: { tools: [NOTE] } });
  else if (method === "tools/call") {
    appendFileSync(file, `${params.arguments.id}\n`);
    say({ id, result: { content: [{ type: "text", text: "noted" }] } });
  } else say({ id, error: { code: -32601, message: `there is no method ${method}` } });
}
