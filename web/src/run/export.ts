// A run as a Markdown document, to read or to send. Pure.

import type { RunEvent } from "~/api/types";
import { partsOf } from "~/chat/parts";

export function asMarkdown(runId: string, events: readonly RunEvent[]): string {
  const first = events[0];
  const input = first?.type === "run.started" ? first.payload.input : "";
  const body = partsOf(events).map((part) => {
    switch (part.kind) {
      case "recall":
        return part.hits
          .map((hit) => `> ${hit.id}: ${hit.snippet.replaceAll("\n", " ")}`)
          .join("\n");
      case "tool":
        return [
          `**${part.name}**`,
          fenced(part.args),
          part.result ? fenced(part.result.value) : "",
          part.result?.isCut
            ? "> The result was longer than its bound: this is its beginning."
            : "",
        ].join("\n\n");
      case "text":
        return part.text;
      case "note":
        return `> ${part.code}: ${part.message}`;
    }
  });
  return [`# ${runId}`, first ? first.ts : "", `## ${input}`, ...body].join("\n\n");
}

/** In a fence longer than any in the text, so that none ends it early. */
function fenced(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((ticks) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}
