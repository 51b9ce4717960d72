import { expect, test } from "vitest";
import { partsOf } from "~/chat/parts";
import type { Frame } from "~/live/frames";
import { asMarkdown } from "~/run/export";
import { RunLog } from "~/run/log";
import { Script } from "./events";

const frameOf = (event: { seq: number; type: string }): Frame => ({
  id: String(event.seq),
  event: event.type,
  data: JSON.stringify(event),
});

const delta = (id: string, text: string): Frame => ({
  id,
  event: "llm.delta",
  data: JSON.stringify({ run_id: "run_1", step_id: "step_0001", n: 1, text }),
});

const reset = (id: string): Frame => ({
  id,
  event: "llm.reset",
  data: JSON.stringify({ run_id: "run_1", step_id: "step_0001", n: 2 }),
});

test("what is told twice counts once, and a gap is seen", () => {
  const { events } = new Script().start().beginStep(1).recall(1, 1);
  const log = new RunLog();
  for (const event of [events[0]!, events[0]!, events[1]!])
    expect(log.take(frameOf(event))).toBe(true);
  expect(log.last).toBe(2);
  const ahead = { ...events[2]!, seq: 9 };
  expect(log.take(frameOf(ahead))).toBe(false);
  expect(log.last).toBe(2);
});

test("words come one after another, once each, until the whole text replaces them", () => {
  const script = new Script().start().beginStep(1);
  const log = new RunLog();
  for (const event of script.events) log.add(event);
  for (const frame of [delta("2.1", "Hel"), delta("2.2", "lo"), delta("2.2", "lo")])
    log.take(frame);
  expect(log.drafts.get("step_0001")).toBe("Hello");
  expect(log.take(delta("1.7", "stale"))).toBe(true);
  expect(log.drafts.get("step_0001")).toBe("Hello");
  script.answer(5, 3, "Hello!");
  log.take(frameOf(script.events[2]!));
  expect(log.drafts.size).toBe(0);
  expect(partsOf(log.events, log.drafts).at(-1)).toMatchObject({ text: "Hello!", isDraft: false });
});

test("a reset voids the words before it", () => {
  const log = new RunLog();
  for (const event of new Script().start().beginStep(1).events) log.add(event);
  for (const frame of [delta("2.1", "Lost"), reset("2.2"), delta("2.3", "Found")]) log.take(frame);
  expect(log.drafts.get("step_0001")).toBe("Found");
});

test("an answer has memories, tools and words in their order", () => {
  const { events } = new Script()
    .start()
    .beginStep(1)
    .recall(1, 1, ["tea"])
    .answer(2, 1, "Let me look.")
    .call(2, "a")
    .result(3, "a", 1, true)
    .endStep(3, 2)
    .beginStep(4)
    .recall(4, 1)
    .answer(5, 1, "Done.")
    .endStep(5, 1)
    .complete(5, "Done.");
  const parts = partsOf(events);
  expect(parts.map(({ kind }) => kind)).toEqual(["recall", "text", "tool", "text"]);
  expect(parts[2]).toMatchObject({ name: "read_file", result: { isError: true } });
});

test("an export is Markdown whose fences hold", () => {
  const { events } = new Script()
    .start()
    .beginStep(1)
    .answer(1, 1, "")
    .call(1, "```")
    .result(2, "```", 1);
  expect(asMarkdown("run_1", events)).toContain('````\n{\n  "path": "```"\n}\n````');
});
