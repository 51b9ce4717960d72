// Which words of a prompt a segment of it stands for. Pure.
//
// The server says the words as the system prompt and the messages, in the order in which they were
// sent: earlier turns, the task, the summary of older steps, and the steps.

import type { ContextSegment, ContextText } from "~/api/types";

/** Prompt and answer together: what the parts are parts of. */
export const roomOf = (segments: ContextSegment[]) =>
  segments.reduce((all, { tokens }) => all + tokens, 0);

export type Sent = { role: string; content: string; tool_calls?: unknown[] };

export type Words =
  | { kind: "json"; value: unknown }
  | { kind: "text"; text: string }
  | { kind: "messages"; messages: Sent[] }
  | { kind: "none" };

export function wordsOf(segment: ContextSegment, text: ContextText): Words {
  const { turns, task, summary, steps } = partsOf(text.messages as unknown[] as Sent[]);
  switch (segment.kind) {
    case "tools":
      return text.tools ? { kind: "json", value: text.tools } : { kind: "none" };
    case "system":
    case "core_memory":
    case "history_summary":
      return { kind: "text", text: text.system };
    case "turns":
      return { kind: "messages", messages: turns };
    case "task":
      return { kind: "messages", messages: task };
    case "summary":
      return { kind: "messages", messages: summary };
    case "memory":
      return {
        kind: "messages",
        messages: steps.filter(({ content }) => content.includes(segment.ref)),
      };
    case "steps":
      return { kind: "messages", messages: steps };
    case "answer":
      return { kind: "none" };
  }
}

/** The messages that were not sent with the call before. */
export function newIn(messages: Sent[], before: ContextText | null | undefined): Sent[] {
  const known = new Set(before?.messages.map((message) => JSON.stringify(message)));
  return messages.filter((message) => !known.has(JSON.stringify(message)));
}

function partsOf(messages: Sent[]) {
  // A turn is a question with its answer; what is asked now has none yet, or one that calls tools.
  const isTurn = (at: number) =>
    messages[at]?.role === "user" &&
    messages[at + 1]?.role === "assistant" &&
    !messages[at + 1]!.tool_calls?.length &&
    at + 2 < messages.length;
  let at = 0;
  while (isTurn(at)) at += 2;
  const rest = messages.slice(at + 1);
  return {
    turns: messages.slice(0, at),
    task: messages.slice(at, at + 1),
    summary: rest.filter(({ role }) => role === "summary"),
    steps: rest.filter(({ role }) => role !== "summary"),
  };
}
