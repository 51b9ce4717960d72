import { expect, test } from "vitest";
import type { SpanKind } from "~/api/types";
import { partsOf } from "~/chat/parts";
import { asMarkdown } from "~/run/export";
import { costliest, nextError, rowsOf, slowest } from "~/run/rows";
import { payloadOf, Spans } from "~/run/spans";
import { Script } from "./events";

const EVERYTHING = {
  collapsed: new Set<string>(),
  query: "",
  kinds: new Set<SpanKind>(),
};

/** A step whose first events are committed together at 100 ms, and a tool call after it. */
const script = () =>
  new Script()
    .start(100)
    .beginStep(100)
    .recall(100, 20, ["tea"])
    .answer(100, 50, "")
    .call(100, "a")
    .result(130, "a", 30)
    .call(130, "b")
    .result(190, "b", 60, true)
    .endStep(190, 160)
    .beginStep(200)
    .recall(200, 5)
    .answer(900, 690, "done", 0.5)
    .endStep(900, 700)
    .complete(900, "done");

function spansOf(events = script().events) {
  const spans = new Spans();
  spans.take(events);
  return spans;
}

test("bars lie one after another, however few stamps the events have", () => {
  const { all } = spansOf();
  const origin = Date.UTC(2026, 0, 1);
  const laid = all.map(({ kind, start, end }) => [kind, start - origin, end! - origin]);
  expect(laid).toEqual([
    ["run", 30, 900],
    ["step", 30, 190],
    ["memory", 30, 50],
    ["llm", 50, 100],
    ["tool", 100, 130],
    ["tool", 130, 190],
    ["step", 195, 900],
    ["memory", 195, 200],
    ["llm", 200, 890],
  ]);
});

test("spans grow as events come, and are the same in the end", () => {
  const { events } = script();
  const spans = new Spans();
  for (let n = 1; n <= events.length; n += 1) spans.take(events.slice(0, n));
  expect(spans.all).toEqual(spansOf(events).all);
});

test("a span has what went in and what came out", () => {
  const { events } = script();
  const spans = spansOf(events);
  const tool = spans.get("tool-b")!;
  const payload = payloadOf(tool, events);
  expect(payload.input).toEqual({ path: "b" });
  expect(payload.output).toBe("there is no such file");
  expect(payload.facts).toContainEqual(["outcome", "error"]);
  expect(tool.isError).toBe(true);
});

test("what a dead worker left open goes on under the same span", () => {
  const s = new Script().start(0).beginStep(0).answer(10, 5, "").call(10, "a");
  const resumed = {
    type: "run.resumed",
    payload: { epoch: 2, from_step: 0, reason: "worker_lost" },
  };
  s.add(resumed as never, 3000, "run", null)
    .call(3000, "a")
    .result(3040, "a", 40);
  const spans = spansOf(s.events);
  expect(spans.all.filter(({ kind }) => kind === "tool")).toHaveLength(1);
  expect(spans.all.map(({ name }) => name)).toContain("resumed: worker_lost");
});

test("a filter shows what it finds with all that is above it", () => {
  const rows = rowsOf(spansOf().all, { ...EVERYTHING, query: "READ" });
  expect(rows.map(({ span }) => span.kind)).toEqual(["run", "step", "tool", "tool"]);
  const kinds = rowsOf(spansOf().all, { ...EVERYTHING, kinds: new Set<SpanKind>(["llm"]) });
  expect(kinds.map(({ span }) => span.kind)).toEqual(["run", "step", "llm", "step", "llm"]);
});

test("a folded step hides what is in it", () => {
  const rows = rowsOf(spansOf().all, { ...EVERYTHING, collapsed: new Set(["step-1"]) });
  expect(rows.map(({ span, isOpen }) => [span.id, isOpen])).toContainEqual(["step-1", false]);
  expect(rows.some(({ span }) => span.id === "tool-a")).toBe(false);
});

test("jumps find the next error, the slowest and the costliest", () => {
  const rows = rowsOf(spansOf().all, EVERYTHING);
  const idAt = (index: number) => rows[index]?.span.id;
  expect(idAt(nextError(rows, -1, 1))).toBe("tool-b");
  expect(idAt(nextError(rows, 5, 1)), "around the end").toBe("tool-b");
  expect(rows[slowest(rows)]?.span.kind).toBe("llm");
  expect(rows[costliest(rows)]?.span.costUsd).toBe(0.5);
});

test("ten thousand spans are laid out in a moment", () => {
  const s = new Script().start(0);
  for (let step = 0; step < 100; step += 1) {
    s.beginStep(step * 1000)
      .recall(step * 1000, 2)
      .answer(step * 1000 + 10, 8, "");
    for (let n = 0; n < 98; n += 1) {
      s.call(step * 1000 + 10 + n, `${step}-${n}`);
      s.result(step * 1000 + 11 + n, `${step}-${n}`, 1);
    }
    s.endStep(step * 1000 + 200, 200);
  }
  const spans = spansOf(s.events);
  expect(spans.all.length).toBeGreaterThan(10_000);
  // The best of five: the machine may be busy with other things.
  const times = Array.from({ length: 5 }, () => {
    const began = performance.now();
    rowsOf(spans.all, EVERYTHING);
    return performance.now() - began;
  });
  expect(Math.min(...times)).toBeLessThan(60);
});

test("a result that was cut to its bound says so, wherever it is shown", () => {
  const { events } = new Script()
    .start()
    .beginStep(1)
    .call(2, "a")
    .result(3, "a", 1, false, true)
    .call(4, "b")
    .result(5, "b", 1);
  const spans = new Spans();
  spans.take(events);
  const tools = spans.all.filter(({ kind }) => kind === "tool");
  expect(tools.map((span) => payloadOf(span, events).isCut)).toEqual([true, false]);
  const uses = partsOf(events).filter((part) => part.kind === "tool");
  expect(uses.map(({ result }) => result?.isCut)).toEqual([true, false]);
  expect(asMarkdown("run_1", events).match(/longer than its bound/g)).toHaveLength(1);
});
