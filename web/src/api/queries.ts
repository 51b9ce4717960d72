// What can be read, as queries: the key, how it is fetched, how long it stays fresh.

import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { type Per, slotsOf } from "~/usage/period";
import { again, LIVE_MS } from "./again";
import { answered, api } from "./client";
import { ApiError } from "./error";
import {
  type Hit,
  hasEnded,
  type MemoryFilters,
  type MemoryType,
  type RunStatus,
  type SpanPart,
  type TracePage,
} from "./types";

const PAGE = 50;
type Page = { next_cursor?: string | null };
const pages = {
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page: Page) => page.next_cursor ?? undefined,
};

export const identityQuery = queryOptions({
  queryKey: ["identity"],
  queryFn: () => answered(api.GET("/api/whoami")),
  staleTime: Number.POSITIVE_INFINITY,
});

export type RunFilters = {
  status?: RunStatus | undefined;
  agent?: string | undefined;
  session?: string | undefined;
  /** Text of the input. */
  q?: string | undefined;
  /** The last so many hours. */
  hours?: number | undefined;
  min_cost?: number | undefined;
};

const HOUR_MS = 3_600_000;

export const runsQuery = ({ status, agent, session, q, hours, min_cost }: RunFilters) =>
  infiniteQueryOptions({
    queryKey: ["runs", { status, agent, session, q, hours, min_cost }],
    queryFn: ({ pageParam: cursor }) =>
      answered(
        api.GET("/api/runs", {
          params: {
            query: {
              status,
              agent_id: agent,
              session_key: session,
              q,
              since: hours ? new Date(Date.now() - hours * HOUR_MS).toISOString() : undefined,
              min_cost_usd: min_cost,
              cursor,
              limit: PAGE,
            },
          },
        }),
      ),
    ...pages,
  });

export const runQuery = (run_id: string) =>
  queryOptions({
    queryKey: ["run", run_id],
    queryFn: () => answered(api.GET("/api/runs/{run_id}", { params: { path: { run_id } } })),
    refetchInterval: (query) => {
      const run = query.state.data;
      return again(query, run && !hasEnded(run.status) && LIVE_MS);
    },
  });

export const eventsQuery = (run_id: string) =>
  queryOptions({
    queryKey: ["events", run_id],
    queryFn: () => eventsAfter(run_id, 0),
    staleTime: Number.POSITIVE_INFINITY,
  });

/** Events of a run, page by page; `onPage` sees each as it comes. */
export async function eventsAfter(
  run_id: string,
  after: number,
  onPage?: (events: EventList) => void,
  signal?: AbortSignal,
) {
  const all: EventList = [];
  let cursor: number | null = after;
  while (cursor !== null) {
    const page: { events: EventList } & Page = await answered(
      api.GET("/api/runs/{run_id}/events", {
        params: { path: { run_id }, query: { cursor, limit: 500 } },
        signal,
      }),
    );
    all.push(...page.events);
    onPage?.(page.events);
    cursor = page.next_cursor ? Number(page.next_cursor) : null;
  }
  return all;
}
type EventList = import("./types").RunEvent[];

/** Spans a page; the server reads 10,000 events for one in any case. */
const TRACE_PAGE = 5_000;

/** The trace of a run, page by page. */
export async function* tracePages(run_id: string, signal: AbortSignal) {
  let cursor: number | null = 0;
  while (cursor !== null) {
    const page: TracePage = await answered(
      api.GET("/api/runs/{run_id}/trace", {
        params: { path: { run_id }, query: { cursor, limit: TRACE_PAGE } },
        signal,
      }),
    );
    yield page;
    cursor = page.next_cursor ? Number(page.next_cursor) : null;
  }
}

const spanAt = (run_id: string, span_id: string, query: { offset?: number; limit?: number }) =>
  answered(
    api.GET("/api/runs/{run_id}/spans/{span_id}", { params: { path: { run_id, span_id }, query } }),
  );

/** What a span took and gave, the beginning of each; `last_seq` says how far the span was known. */
export const spanQuery = (run_id: string, span_id: string, last_seq: number) =>
  queryOptions({
    queryKey: ["span", run_id, span_id, last_seq],
    queryFn: () => spanAt(run_id, span_id, {}),
    staleTime: Number.POSITIVE_INFINITY,
  });

/** The server gives no more at once. */
const PART_MAX = 1024 * 1024;

/** All of what a span took or gave, of which the beginning is known. */
export async function wholePart(
  run_id: string,
  span_id: string,
  side: "input" | "output",
  first: SpanPart,
): Promise<string> {
  const texts: string[] = [];
  let part: SpanPart | null | undefined = first;
  while (part?.text) {
    texts.push(part.text);
    const offset: number = part.offset + new Blob([part.text]).size;
    if (offset >= part.size) break;
    part = (await spanAt(run_id, span_id, { offset, limit: PART_MAX }))[side];
  }
  return texts.join("");
}

/** What the model of a step was sent; null where no model has answered in it, or it is kept no longer. */
export const contextQuery = (run_id: string, step: number, text = false) =>
  queryOptions({
    queryKey: ["context", run_id, step, text],
    queryFn: () =>
      answered(
        api.GET("/api/runs/{run_id}/context/{step}", {
          params: { path: { run_id, step }, query: text ? { text } : {} },
        }),
      ).catch((error: unknown) => {
        if (error instanceof ApiError && error.code === "not_found") return null;
        throw error;
      }),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const checkpointsQuery = (run_id: string) =>
  infiniteQueryOptions({
    queryKey: ["checkpoints", run_id],
    queryFn: ({ pageParam }) =>
      answered(
        api.GET("/api/runs/{run_id}/checkpoints", {
          params: { path: { run_id }, query: { cursor: Number(pageParam ?? 0), limit: PAGE } },
        }),
      ),
    ...pages,
  });

/** The runs that were forked from a run. */
export const forksQuery = (parent_run_id: string) =>
  queryOptions({
    queryKey: ["runs", "forks", parent_run_id],
    queryFn: () =>
      answered(api.GET("/api/runs", { params: { query: { parent_run_id, limit: PAGE } } })),
  });

export const sessionsQuery = infiniteQueryOptions({
  queryKey: ["sessions"],
  queryFn: ({ pageParam: cursor }) =>
    answered(api.GET("/api/sessions", { params: { query: { cursor, limit: PAGE } } })),
  ...pages,
});

export const sessionRunsQuery = (session_key: string) =>
  infiniteQueryOptions({
    queryKey: ["session", session_key],
    queryFn: ({ pageParam: cursor }) =>
      answered(
        api.GET("/api/sessions/{session_key}/runs", {
          params: { path: { session_key }, query: { cursor, limit: PAGE } },
        }),
      ),
    ...pages,
  });

export const memoriesQuery = (type?: MemoryType) =>
  infiniteQueryOptions({
    queryKey: ["memories", "list", { type }],
    queryFn: ({ pageParam: cursor }) =>
      answered(api.GET("/api/memories", { params: { query: { type, cursor, limit: PAGE } } })),
    ...pages,
  });

/** Hits that the page shows, and those that a search can have. */
export const HITS_SHOWN = 20;
export const HITS_MAX = 50;

const search = (query: string, top_k: number, signal: AbortSignal, filters?: MemoryFilters) =>
  answered(
    api.POST("/api/memories/search", {
      body: { query, top_k, explain: true, ...(filters && { filters }) },
      signal,
    }),
  );

export const memorySearchQuery = (query: string, type?: MemoryType) =>
  queryOptions({
    queryKey: ["memories", "search", { query, type }],
    queryFn: ({ signal }) => search(query, HITS_SHOWN, signal, type && { type: [type] }),
  });

export type WhyNot =
  | { kind: "absent" }
  /** Among the best, counted from 1, whatever its layer. */
  | { kind: "placed"; place: number; hit: Hit }
  /** Found among its own kind alone; `last` is the score of the last of the best. */
  | { kind: "behind"; last: number; hit: Hit }
  | { kind: "unlike" };

/** Why a search does not show a memory. */
export const whyNotQuery = (query: string, id: string) =>
  queryOptions({
    queryKey: ["memories", "why", { query, id }],
    queryFn: async ({ signal }): Promise<WhyNot> => {
      const path = { path: { id } };
      const memory = await answered(api.GET("/api/memories/{id}", { params: path, signal })).catch(
        (error: unknown) => {
          if (error instanceof ApiError && error.code === "not_found") return null;
          throw error;
        },
      );
      if (!memory) return { kind: "absent" };
      const best = await search(query, HITS_MAX, signal);
      const place = best.hits.findIndex((hit) => hit.id === id) + 1;
      if (place > 0) return { kind: "placed", place, hit: best.hits[place - 1]! };
      const { type, group_key, metadata } = memory;
      const alike = await search(query, HITS_MAX, signal, { type: [type], group_key, metadata });
      const hit = alike.hits.find((one) => one.id === id);
      return hit ? { kind: "behind", last: best.hits.at(-1)!.score, hit } : { kind: "unlike" };
    },
  });

export const memoryQuery = (id: string) =>
  queryOptions({
    queryKey: ["memories", "one", id],
    queryFn: () => answered(api.GET("/api/memories/{id}", { params: { path: { id } } })),
  });

export const memoryVersionsQuery = (id: string) =>
  queryOptions({
    queryKey: ["memories", "one", id, "versions"],
    queryFn: () =>
      answered(
        api.GET("/api/memories/{id}/versions", {
          params: { path: { id }, query: { limit: PAGE } },
        }),
      ),
  });

export const memoryLinksQuery = (id: string) =>
  queryOptions({
    queryKey: ["memories", "one", id, "links"],
    queryFn: () => answered(api.GET("/api/memories/{id}/links", { params: { path: { id } } })),
  });

export const queueQuery = queryOptions({
  queryKey: ["queue"],
  queryFn: () => answered(api.GET("/api/queue")),
  refetchInterval: (query) => again(query, LIVE_MS),
});

export const healthQuery = queryOptions({
  queryKey: ["health"],
  queryFn: () => answered(api.GET("/health")),
  refetchInterval: (query) => again(query, 5 * LIVE_MS),
});

/** The processes that work on the database; of those who administer the organisation. */
export const nodesQuery = queryOptions({
  queryKey: ["nodes"],
  queryFn: () => answered(api.GET("/api/nodes")),
  refetchInterval: (query) => again(query, LIVE_MS),
});

export type UsageAsked = {
  days: number;
  per: Per;
  by: "model" | "agent" | "user" | "project";
  /** Of the whole organisation, not of the scope alone. */
  isOfAll: boolean;
};

export const usageQuery = (asked: UsageAsked) =>
  queryOptions({
    queryKey: ["usage", asked],
    queryFn: () => {
      const { per, by, isOfAll } = asked;
      const when = { since: slotsOf(asked)[0]!, per };
      if (isOfAll) {
        return answered(api.GET("/api/usage/organisation", { params: { query: { ...when, by } } }));
      }
      const known = by === "agent" ? by : "model";
      return answered(api.GET("/api/usage", { params: { query: { ...when, by: known } } }));
    },
  });

/** What the runs of the scope come to, over the same time. */
export const runSummaryQuery = (asked: UsageAsked) =>
  queryOptions({
    queryKey: ["usage", "summary", { days: asked.days, per: asked.per }],
    queryFn: () =>
      answered(api.GET("/api/runs/summary", { params: { query: { since: slotsOf(asked)[0]! } } })),
  });

/** Tools and agents are few: all of them at once. */
export const toolsQuery = queryOptions({
  queryKey: ["tools"],
  queryFn: () => answered(api.GET("/api/tools", { params: { query: { limit: 500 } } })),
});

export const agentsQuery = queryOptions({
  queryKey: ["agents"],
  queryFn: () => answered(api.GET("/api/agents", { params: { query: { limit: 500 } } })),
});

export const keysQuery = infiniteQueryOptions({
  queryKey: ["keys"],
  queryFn: ({ pageParam: cursor }) =>
    answered(api.GET("/api/keys", { params: { query: { cursor, limit: PAGE } } })),
  ...pages,
});

export const auditQuery = infiniteQueryOptions({
  queryKey: ["audit"],
  queryFn: ({ pageParam: cursor }) =>
    answered(api.GET("/api/audit", { params: { query: { cursor, limit: PAGE } } })),
  ...pages,
});
