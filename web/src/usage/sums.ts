// Rows of usage put together: by name over all of the time, and all of them. Pure.

import type { UsageRow } from "~/api/types";

export type Sum = {
  runs: number;
  failed: number;
  inputTokens: number;
  cachedTokens: number;
  outputTokens: number;
  costUsd: number;
};

export function sumOf(rows: readonly UsageRow[]): Sum {
  const sum: Sum = {
    runs: 0,
    failed: 0,
    inputTokens: 0,
    cachedTokens: 0,
    outputTokens: 0,
    costUsd: 0,
  };
  for (const row of rows) {
    sum.runs += row.runs;
    sum.failed += row.failed;
    sum.inputTokens += row.input_tokens;
    sum.cachedTokens += row.cached_tokens;
    sum.outputTokens += row.output_tokens;
    sum.costUsd += row.cost_usd;
  }
  return sum;
}

/** How much of the prompts the provider had cached, 0 to 1; null where there was no prompt. */
export const cachedShare = ({ inputTokens, cachedTokens }: Sum) =>
  inputTokens > 0 ? Math.min(1, cachedTokens / inputTokens) : null;

/** The rows of each name, what cost most first, then what had most tokens. */
export function byName(rows: readonly UsageRow[]): [name: string | null, rows: UsageRow[]][] {
  const groups = new Map<string | null, UsageRow[]>();
  for (const row of rows) {
    const name = row.name ?? null;
    const group = groups.get(name);
    if (group) group.push(row);
    else groups.set(name, [row]);
  }
  const weight = (of: UsageRow[]) => {
    const { costUsd, inputTokens, outputTokens } = sumOf(of);
    return [costUsd, inputTokens + outputTokens] as const;
  };
  return [...groups].sort(([, one], [, other]) => {
    const [cost, tokens] = weight(one);
    const [otherCost, otherTokens] = weight(other);
    return otherCost - cost || otherTokens - tokens;
  });
}
