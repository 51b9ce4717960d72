import { expect, test } from "vitest";
import type { ContextText, SegmentKind } from "~/api/types";
import { newIn, type Sent, wordsOf } from "~/run/context/words";

const say = (role: string, content: string, calls = 0): Sent => ({
  role,
  content,
  ...(calls > 0 && { tool_calls: Array.from({ length: calls }, () => ({})) }),
});
const textOf = (messages: Sent[]) =>
  ({ tools: [], system: "You are.", messages }) as unknown as ContextText;
const shown = (kind: SegmentKind, messages: Sent[], ref = "") => {
  const words = wordsOf({ kind, ref, tokens: 1 }, textOf(messages));
  return words.kind === "messages" ? words.messages.map(({ content }) => content) : words;
};

const SENT = [
  say("user", "before"),
  say("assistant", "answered"),
  say("user", "now"),
  say("summary", "older steps"),
  say("note", "mem_1: tea"),
  say("assistant", "", 1),
  say("tool", "found"),
];

test("each part of a prompt has its own words", () => {
  expect(shown("system", SENT)).toEqual({ kind: "text", text: "You are." });
  expect(shown("turns", SENT)).toEqual(["before", "answered"]);
  expect(shown("task", SENT)).toEqual(["now"]);
  expect(shown("summary", SENT)).toEqual(["older steps"]);
  expect(shown("memory", SENT, "mem_1")).toEqual(["mem_1: tea"]);
  expect(shown("steps", SENT)).toEqual(["mem_1: tea", "", "found"]);
  expect(shown("answer", SENT)).toEqual({ kind: "none" });
});

test("a task that has no answer yet is no turn", () => {
  expect(shown("turns", [say("user", "now")])).toEqual([]);
  expect(shown("task", [say("user", "now")])).toEqual(["now"]);
  expect(shown("task", [say("user", "now"), say("assistant", "", 2)])).toEqual(["now"]);
});

test("the difference to the call before is what it did not have", () => {
  expect(newIn(SENT, textOf(SENT.slice(0, 5))).map(({ role }) => role)).toEqual([
    "assistant",
    "tool",
  ]);
  expect(newIn(SENT, null)).toEqual(SENT);
});
