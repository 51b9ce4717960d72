// What can be read, as queries: the key, how it is fetched, how long it stays fresh.

import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { answered, api } from "./client";
import { isTransient } from "./error";
import { hasEnded, type MemoryType, type RunStatus } from "./types";

const PAGE = 50;
/** How often tables of live things ask again. */
export const LIVE_MS = 2_000;
/** After what may pass (the server starts anew) a page asks again by itself. */
export const AGAIN_MS = 4_000;

type Asked = { state: { error: unknown } };

/** When a query is to be asked again: after `ms` while what it shows lives, and after a failure. */
export const again = ({ state: { error } }: Asked, ms: number | false = false) =>
  ms || (isTransient(error) && AGAIN_MS);

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
};

export const runsQuery = ({ status, agent, session }: RunFilters) =>
  infiniteQueryOptions({
    queryKey: ["runs", { status, agent, session }],
    queryFn: ({ pageParam: cursor }) =>
      answered(
        api.GET("/api/runs", {
          params: { query: { status, agent_id: agent, session_key: session, cursor, limit: PAGE } },
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

export const memorySearchQuery = (query: string, type?: MemoryType) =>
  queryOptions({
    queryKey: ["memories", "search", { query, type }],
    queryFn: ({ signal }) =>
      answered(
        api.POST("/api/memories/search", {
          body: { query, top_k: 20, explain: true, ...(type && { filters: { type: [type] } }) },
          signal,
        }),
      ),
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
  refetchInterval: LIVE_MS,
});

export const healthQuery = queryOptions({
  queryKey: ["health"],
  queryFn: () => answered(api.GET("/health")),
  refetchInterval: 5 * LIVE_MS,
});

export const usageQuery = queryOptions({
  queryKey: ["usage"],
  queryFn: () => answered(api.GET("/api/usage")),
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
