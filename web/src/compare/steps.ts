// Two runs step by step: what each step said, called and took, and where they part. Pure.

import type { Run, RunEvent } from "~/api/types";

export type Call = {
  id: string;
  name: string;
  args: unknown;
  /** Null while it works. */
  result: { value: unknown; isError: boolean; outcome: string; ms: number } | null;
};

export type Took = {
  steps: number;
  calls: number;
  inputTokens: number;
  cachedTokens: number;
  outputTokens: number;
  costUsd: number;
  /** Of the steps that are complete. */
  ms: number;
};

export type Step = { step: number; text: string; calls: Call[]; took: Took };

export type Pair = {
  step: number;
  left: Step | null;
  right: Step | null;
  kind: "same" | "differs" | "left" | "right";
};

export const NOTHING: Took = {
  steps: 0,
  calls: 0,
  inputTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
  costUsd: 0,
  ms: 0,
};

/** The steps that a run did itself, by number; a fork has taken over those before. */
export function stepsOf(events: readonly RunEvent[]): Map<number, Step> {
  const steps = new Map<number, Step>();
  const calls = new Map<string, Call>();
  let at = 0;
  for (const event of events) {
    if (event.step_id) at = Number(event.step_id.slice("step_".length));
    if (at === 0) continue;
    let step = steps.get(at);
    if (!step) {
      step = { step: at, text: "", calls: [], took: { ...NOTHING, steps: 1 } };
      steps.set(at, step);
    }
    switch (event.type) {
      case "llm.called": {
        const { content, usage, cost_usd } = event.payload;
        // Without a step it is a summary that the runtime asked for: it costs, and says nothing.
        if (event.step_id) step.text = content;
        step.took.inputTokens += usage.input_tokens;
        step.took.cachedTokens += usage.cached_tokens;
        step.took.outputTokens += usage.output_tokens;
        step.took.costUsd += cost_usd;
        break;
      }
      case "tool.called": {
        const { tool_call_id: id, tool: name, args } = event.payload;
        if (calls.has(id)) break; // The next worker makes the same call again.
        const call: Call = { id, name, args, result: null };
        calls.set(id, call);
        step.calls.push(call);
        step.took.calls += 1;
        break;
      }
      case "tool.result": {
        const call = calls.get(event.payload.tool_call_id);
        const { result: value, is_error: isError, outcome, duration_ms: ms } = event.payload;
        if (call) call.result = { value, isError, outcome, ms };
        break;
      }
      case "step.completed":
        step.took.ms = event.payload.duration_ms;
        break;
      default:
        break;
    }
  }
  return steps;
}

/** How many steps both have from the same run, because one of them, or both, took them over. */
export function sharedSteps(left: Run, right: Run): number {
  const from = ({ forked_from_step }: Run) => forked_from_step ?? 0;
  if (left.run_id === right.run_id) return 0;
  if (right.parent_run_id === left.run_id) return from(right);
  if (left.parent_run_id === right.run_id) return from(left);
  const areSiblings = left.parent_run_id && left.parent_run_id === right.parent_run_id;
  return areSiblings ? Math.min(from(left), from(right)) : 0;
}

/** The steps of both after the shared ones, number by number. */
export function pairsOf(
  left: ReadonlyMap<number, Step>,
  right: ReadonlyMap<number, Step>,
  shared: number,
): Pair[] {
  const numbers = [...new Set([...left.keys(), ...right.keys()])].filter((step) => step > shared);
  return numbers
    .sort((one, other) => one - other)
    .map((step) => {
      const ours = left.get(step) ?? null;
      const theirs = right.get(step) ?? null;
      return { step, left: ours, right: theirs, kind: kindOf(ours, theirs) };
    });
}

function kindOf(left: Step | null, right: Step | null): Pair["kind"] {
  if (!left) return "right";
  if (!right) return "left";
  return said(left) === said(right) ? "same" : "differs";
}

/** What a step said and did, without ids and times, which always differ. */
const said = ({ text, calls }: Step) =>
  JSON.stringify([
    text,
    calls.map(({ name, args, result }) => [name, args, result && [result.value, result.isError]]),
  ]);

/** What the steps after a number took together. */
export function tookAfter(steps: ReadonlyMap<number, Step>, after: number): Took {
  const sum = { ...NOTHING };
  for (const { step, took } of steps.values()) {
    if (step <= after) continue;
    for (const name of Object.keys(sum) as (keyof Took)[]) sum[name] += took[name];
  }
  return sum;
}
