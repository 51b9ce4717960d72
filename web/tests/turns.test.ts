import { expect, test } from "vitest";
import type { Run } from "~/api/types";
import { turnsOf } from "~/chat/turns";

const run = (run_id: string, parent_run_id?: string, forked_from_step?: number) =>
  ({ run_id, parent_run_id, forked_from_step }) as Run;
const check = (runs: Run[], want: string[][]) =>
  expect(turnsOf(runs).map(({ versions }) => versions.map(({ run_id }) => run_id))).toEqual(want);

test("a fork from the start is another version of its turn, wherever it stands", () => {
  check([run("a"), run("b")], [["a"], ["b"]]);
  check([run("a"), run("b"), run("c", "a", 0), run("d", "c", 0)], [["a", "c", "d"], ["b"]]);
});

test("a fork that goes on is a turn of its own, and so is one whose parent is not shown", () => {
  check([run("a"), run("b", "a", 2)], [["a"], ["b"]]);
  check([run("b", "a", 0)], [["b"]]);
});
