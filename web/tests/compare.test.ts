// Two runs step by step.

import { expect, test } from "vitest";
import type { Run } from "~/api/types";
import { pairsOf, sharedSteps, stepsOf, tookAfter } from "~/compare/steps";
import { differing } from "~/compare/words";
import { Script } from "./events";

const run = (run_id: string, parent_run_id: string | null = null, step: number | null = null) =>
  ({ run_id, parent_run_id, forked_from_step: step }) as Run;

const told = (...words: string[]) => {
  const script = new Script().start();
  for (const text of words) script.beginStep(0).answer(0, 10, text).endStep(0, 10);
  return stepsOf(script.events);
};

test("a fork shares with its origin the steps that it took over", () => {
  const shared = (left: Run, right: Run) => sharedSteps(left, right);
  expect(shared(run("a"), run("b", "a", 2))).toBe(2);
  expect(shared(run("b", "a", 2), run("a"))).toBe(2);
  expect(shared(run("b", "a", 2), run("c", "a", 5))).toBe(2);
  expect(shared(run("a"), run("b", "a", 0))).toBe(0);
  expect(shared(run("a"), run("b"))).toBe(0);
  expect(shared(run("b", "a", 2), run("b", "a", 2)), "itself").toBe(0);
});

test("steps are the same, differ, or are on one side alone", () => {
  const kinds = (left: string[], right: string[], shared = 0) =>
    pairsOf(told(...left), told(...right), shared).map(({ step, kind }) => [step, kind]);
  expect(kinds(["a", "b"], ["a", "c", "d"])).toEqual([
    [1, "same"],
    [2, "differs"],
    [3, "right"],
  ]);
  expect(kinds(["a", "b"], ["a"], 1)).toEqual([[2, "left"]]);
  expect(kinds([], [])).toEqual([]);
});

test("what steps took is summed up behind those that are shared", () => {
  const took = tookAfter(told("a", "b", "c"), 1);
  expect(took).toMatchObject({ steps: 2, calls: 0, ms: 20 });
  expect(took.costUsd).toBeCloseTo(0.02);
});

test("words that differ are marked on their side, in any script", () => {
  const marked = (left: string, right: string) => {
    const found = differing(left, right)!;
    const of = (side: typeof found.left) =>
      side.filter(({ isOther }) => isOther).map((p) => p.text);
    return [of(found.left), of(found.right)];
  };
  expect(marked("green tea", "black tea")).toEqual([["green"], ["black"]]);
  expect(marked("小李喜欢绿茶", "小李喜欢红茶")).toEqual([["绿"], ["红"]]);
  expect(marked("same", "same")).toEqual([[], []]);
  expect(marked("", "new")).toEqual([[], ["new"]]);
});
