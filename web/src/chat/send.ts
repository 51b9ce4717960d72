// Sending a message: a run in a session, made once however often it is asked for.

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { answered, api } from "~/api/client";
import { sessionRunsQuery } from "~/api/queries";
import type { IfBusy, Run } from "~/api/types";

export type Message = {
  input: string;
  session: string;
  agent?: string | undefined;
  ifBusy?: IfBusy;
  /** The same for every try of one message. */
  key: string;
};

/** Random, also on pages over plain HTTP, where there is no `crypto.randomUUID`. */
function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const newSessionKey = () => `s_${randomHex(8)}`;
export const newMessageKey = () => `web-${randomHex(16)}`;

export function useSend() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: async ({ input, session, agent, ifBusy, key }: Message) => {
      const made = await answered(
        api.POST("/api/runs", {
          params: { header: { "Idempotency-Key": key } },
          body: {
            input,
            session_key: session,
            agent_id: agent,
            if_busy: ifBusy,
            // What day it is depends on where somebody sits.
            timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
          },
        }),
      );
      return { ...made, input, session_key: session, agent_id: agent ?? "main" };
    },
    onSuccess: (made) => {
      const run = freshRun(made);
      queries.setQueryData(sessionRunsQuery(run.session_key).queryKey, (known) => {
        const [first, ...rest] = known?.pages ?? [{ runs: [], next_cursor: null }];
        return {
          pages: [{ ...first!, runs: [run, ...first!.runs] }, ...rest],
          pageParams: known?.pageParams ?? [undefined],
        };
      });
      void queries.invalidateQueries({ queryKey: ["sessions"] });
      void queries.invalidateQueries({ queryKey: ["runs"] });
    },
  });
}

export type Fork = {
  run: Run;
  /** The last step to take over. */
  step: number;
  /** In place of the task where no step is taken over; otherwise what is said next. */
  input?: string | undefined;
  key: string;
};

/** Makes a run that goes on from a step of another. */
export function useFork() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ run, step, input, key }: Fork) =>
      answered(
        api.POST("/api/runs/{run_id}/fork", {
          params: { path: { run_id: run.run_id }, header: { "Idempotency-Key": key } },
          body: { from_step: step, ...(input?.trim() && { input }) },
        }),
      ),
    onSuccess: (_, { run }) => {
      void queries.invalidateQueries({ queryKey: ["runs"] });
      return queries.invalidateQueries({ queryKey: ["session", run.session_key] });
    },
  });
}

/** A run as its row will be, before the list is read again. */
function freshRun(
  made: Pick<Run, "run_id" | "status" | "created_at" | "input" | "session_key" | "agent_id">,
): Run {
  return {
    ...made,
    input_bytes: new Blob([made.input]).size,
    output: null,
    output_cut: false,
    error: null,
    step_count: 0,
    tool_call_count: 0,
    event_count: 0,
    usage: { input_tokens: 0, output_tokens: 0, cached_tokens: 0, total_tokens: 0 },
    cost_usd: 0,
    metadata: {},
  };
}
