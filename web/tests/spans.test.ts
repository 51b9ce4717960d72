import { expect, test } from "vitest";
import type { SpanKind, TracePage, TraceSpan } from "~/api/types";
import { partsOf } from "~/chat/parts";
import { asMarkdown } from "~/run/export";
import { costliest, nextError, rowsOf, slowest } from "~/run/rows";
import { type Span, Spans } from "~/run/spans";
import { Script } from "./events";

const EVERYTHING = {
  collapsed: new Set<string>(),
  query: "",
  nameOf: ({ name }: Span) => name,
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
  for (const event of events) spans.add(event);
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

/** A span, as the trace of the server has it. */
const served = (
  span_id: string,
  kind: SpanKind,
  times: [start: number, end: number | null],
  more: Partial<TraceSpan> = {},
): TraceSpan => {
  const at = (ms: number) => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
  return {
    span_id,
    parent_span_id: kind === "run" ? null : kind === "step" ? "run" : "step-1",
    kind,
    name: kind,
    step: kind === "run" ? null : 1,
    status: times[1] === null ? "running" : "ok",
    started_at: at(times[0]),
    ended_at: times[1] === null ? null : at(times[1]),
    first_seq: 1,
    last_seq: 5,
    contains_secrets: false,
    ...more,
  };
};

/** What the server says of the script up to the call of the first tool. */
const page = (): TracePage => ({
  run_id: "run_01h455vb4pex5vsknk084sn02q",
  status: "running",
  last_seq: 5,
  next_cursor: null,
  spans: [
    served("run", "run", [30, null], { name: "main", cost_usd: 0.01 }),
    served("step-1", "step", [30, null], { name: "step_0001" }),
    served("0000000000000003", "memory", [30, 50], { name: "recall", hits: 1 }),
    served("llm-3", "llm", [50, 100], { name: "demo/default", cost_usd: 0.01 }),
    served("tool-a", "tool", [100, null], { name: "read_file" }),
  ],
});

test("a trace goes on with the events that come after it, as if all had been told", () => {
  const { events } = script();
  const spans = new Spans();
  spans.put(page());
  for (const event of events) expect(spans.add(event)).toBe(true);
  const told = spansOf(events);
  const laid = ({ all }: Spans) =>
    all.map(({ id, parent, name, start, end, isError, hits }) => [
      id,
      parent,
      name,
      start,
      end,
      isError,
      hits,
    ]);
  expect(laid(spans)).toEqual(laid(told));
  expect(spans.all[0]?.costUsd).toBeCloseTo(0.51);
  expect(spans.hasEnded).toBe(true);
});

test("a page that says a span again puts it in place of the one before", () => {
  const spans = new Spans();
  spans.put({ ...page(), next_cursor: "5" });
  expect(spans.last, "there is more").toBe(0);
  const tool = served("tool-a", "tool", [100, 130], { status: "error" });
  spans.put({ ...page(), spans: [tool], last_seq: 6, status: "completed" });
  expect(spans.all).toHaveLength(5);
  expect(spans.get("tool-a")).toMatchObject({ isError: true });
  expect(spans.last).toBe(6);
  expect(spans.hasEnded).toBe(true);
});

test("an event that is missing is noticed, and one that comes twice counts once", () => {
  const { events } = script();
  const spans = spansOf(events.slice(0, 3));
  expect(spans.add(events[4]!)).toBe(false);
  expect(spans.add(events[2]!)).toBe(true);
  expect(spans.all).toEqual(spansOf(events.slice(0, 3)).all);
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
  expect(spans.all.map(({ name }) => name)).toContain("run.resumed");
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
  const uses = partsOf(events).filter((part) => part.kind === "tool");
  expect(uses.map(({ result }) => result?.isCut)).toEqual([true, false]);
  expect(asMarkdown("run_1", events).match(/longer than its bound/g)).toHaveLength(1);
});
