// The turns of a conversation: a fork from the start of a run is another version of its turn. Pure.

import type { Run } from "~/api/types";

/** The versions of a turn, the oldest first. */
export type TurnVersions = { id: string; versions: Run[] };

/** Runs come oldest first. */
export function turnsOf(runs: readonly Run[]): TurnVersions[] {
  const turns: TurnVersions[] = [];
  const turnOf = new Map<string, TurnVersions>();
  for (const run of runs) {
    const { run_id, parent_run_id, forked_from_step } = run;
    const known = forked_from_step === 0 && parent_run_id ? turnOf.get(parent_run_id) : undefined;
    const turn = known ?? { id: run_id, versions: [] };
    turn.versions.push(run);
    turnOf.set(run_id, turn);
    if (!known) turns.push(turn);
  }
  return turns;
}
