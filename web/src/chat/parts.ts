// What an agent did, in the order of an answer: memories that it recalled, tools that it called, and
// what it said. Pure.

import type { Hit, RunEvent } from "~/api/types";
import type { RunLog } from "~/run/log";

export type ToolUse = {
  kind: "tool";
  id: string;
  name: string;
  args: unknown;
  startedAt: number;
  /** Null while it works. */
  result: {
    value: unknown;
    /** It was longer than its bound. */
    isCut: boolean;
    isError: boolean;
    outcome: string;
    ms: number;
  } | null;
};

export type Part =
  | { kind: "recall"; id: string; hits: Hit[]; ms: number }
  | ToolUse
  | { kind: "text"; id: string; text: string; isDraft: boolean }
  | { kind: "compacted"; id: string; step: number }
  | { kind: "note"; id: string; code: string; message: string };

export function partsOf(events: readonly RunEvent[], drafts?: RunLog["drafts"]): Part[] {
  const parts: Part[] = [];
  const tools = new Map<string, ToolUse>();
  let output = "";
  for (const event of events) {
    const id = String(event.seq);
    switch (event.type) {
      case "memory.recalled":
        if (event.payload.hits.length > 0) {
          const { hits, duration_ms: ms } = event.payload;
          parts.push({ kind: "recall", id, hits, ms });
        }
        break;
      case "context.compacted":
        parts.push({ kind: "compacted", id, step: event.payload.through_step });
        break;
      case "llm.called":
        // Without a step it is a summary that the runtime asked for.
        if (event.payload.content && event.step_id) {
          const text = event.payload.content;
          parts.push({ kind: "text", id: event.step_id, text, isDraft: false });
        }
        break;
      case "tool.called": {
        const { tool_call_id, tool: name, args } = event.payload;
        if (tools.has(tool_call_id)) break; // The next worker makes the same call again.
        const startedAt = Date.parse(event.ts);
        const use: ToolUse = { kind: "tool", id, name, args, startedAt, result: null };
        tools.set(tool_call_id, use);
        parts.push(use);
        break;
      }
      case "tool.result": {
        const use = tools.get(event.payload.tool_call_id);
        if (!use) break;
        const { result: value, truncated: isCut, is_error: isError, outcome } = event.payload;
        use.result = { value, isCut, isError, outcome, ms: event.payload.duration_ms };
        break;
      }
      case "run.warning":
        parts.push({ kind: "note", id, ...event.payload });
        break;
      case "run.completed":
        output = event.payload.output;
        break;
      default:
        break;
    }
  }
  for (const [step, text] of drafts ?? []) {
    if (text) parts.push({ kind: "text", id: step, text, isDraft: true });
  }
  const last = parts.findLast((part) => part.kind === "text");
  if (output && last?.text !== output) {
    parts.push({ kind: "text", id: "output", text: output, isDraft: false });
  }
  return parts;
}
