// Every route with what its address may say, on one screen. What a person may share is in the
// address; what an address says that we do not know is passed over.

import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from "@tanstack/react-router";
import { MEMORY_TYPES, RUN_STATUSES, SPAN_KINDS } from "~/api/types";
import { NotFound, PageComing, PageFailure } from "~/app/fallbacks";
import { patient } from "~/app/patient";
import { Shell } from "~/app/shell";

type Said = Record<string, unknown>;

/** A text that says something. JSON may have made a number of it. */
const text = (value: unknown) =>
  (typeof value === "string" && value !== "") || typeof value === "number"
    ? String(value)
    : undefined;
const amount = (value: unknown) => (Number(value) > 0 ? Number(value) : undefined);
/** A place, counted from 1. */
const place = (value: unknown) => {
  const number = Number(value);
  return Number.isInteger(number) && number > 0 ? number : undefined;
};
const oneOf = <T extends string>(value: unknown, all: readonly T[]) =>
  all.find((one) => one === value);
const someOf = <T extends string>(value: unknown, all: readonly T[]) => {
  const said = [value].flat();
  const found = all.filter((one) => said.includes(one));
  return found.length > 0 ? found : undefined;
};

/** An address may leave out any of it. */
const some = <T extends object>(said: T): { [Name in keyof T]?: T[Name] } => said;

const root = createRootRouteWithContext<{ queries: QueryClient }>()({
  notFoundComponent: NotFound,
  errorComponent: PageFailure,
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: (said: Said) => some({ next: text(said.next) }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/login")), "LoginPage"),
});

const shell = createRoute({ getParentRoute: () => root, id: "shell", component: Shell });

const start = createRoute({
  getParentRoute: () => shell,
  path: "/",
  validateSearch: (said: Said) => some({ agent: text(said.agent) }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/start")), "StartPage"),
});

const sessions = createRoute({
  getParentRoute: () => shell,
  path: "/sessions",
  component: lazyRouteComponent(() => patient(() => import("~/pages/sessions")), "SessionsPage"),
});

const session = createRoute({
  getParentRoute: () => shell,
  path: "/sessions/$key",
  component: lazyRouteComponent(() => patient(() => import("~/pages/session")), "SessionPage"),
});

const runs = createRoute({
  getParentRoute: () => shell,
  path: "/runs",
  validateSearch: (said: Said) =>
    some({
      status: oneOf(said.status, RUN_STATUSES),
      agent: text(said.agent),
      session: text(said.session),
      q: text(said.q),
      hours: place(said.hours),
      min_cost: amount(said.min_cost),
      /** The run in the panel beside the table. */
      peek: text(said.peek),
    }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/runs")), "RunsPage"),
});

export const RUN_TABS = ["trace", "chat", "context", "checkpoints", "events"] as const;

const run = createRoute({
  getParentRoute: () => shell,
  path: "/runs/$id",
  validateSearch: (said: Said) =>
    some({
      tab: oneOf(said.tab, RUN_TABS),
      span: text(said.span),
      q: text(said.q),
      kind: someOf(said.kind, SPAN_KINDS),
      axis: oneOf(said.axis, ["run"] as const),
      /** The step whose prompt is shown. */
      step: place(said.step),
    }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/run")), "RunPage"),
});

const compare = createRoute({
  getParentRoute: () => shell,
  path: "/runs/$id/compare/$other",
  /** The step that is looked at. */
  validateSearch: (said: Said) => some({ step: place(said.step) }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/compare")), "ComparePage"),
});

const memories = createRoute({
  getParentRoute: () => shell,
  path: "/memory",
  validateSearch: (said: Said) =>
    some({
      layer: oneOf(said.layer, MEMORY_TYPES),
      q: text(said.q),
      /** The memory that a search is asked about. */
      why: text(said.why),
    }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/memories")), "MemoriesPage"),
});

const memory = createRoute({
  getParentRoute: () => shell,
  path: "/memory/$id",
  component: lazyRouteComponent(() => patient(() => import("~/pages/memory")), "MemoryPage"),
});

const queue = createRoute({
  getParentRoute: () => shell,
  path: "/queue",
  component: lazyRouteComponent(() => patient(() => import("~/pages/queue")), "QueuePage"),
});

export const USAGE_FIGURES = ["cost", "tokens", "runs", "latency"] as const;
export const USAGE_BY = ["model", "agent", "user", "project"] as const;

const usage = createRoute({
  getParentRoute: () => shell,
  path: "/usage",
  validateSearch: (said: Said) =>
    some({
      figure: oneOf(said.figure, USAGE_FIGURES),
      by: oneOf(said.by, USAGE_BY),
      per: oneOf(said.per, ["hour"] as const),
      /** The last so many days. */
      days: place(said.days),
      /** Of the whole organisation, not of the scope alone. */
      of: oneOf(said.of, ["organisation"] as const),
    }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/usage")), "UsagePage"),
});

const agents = createRoute({
  getParentRoute: () => shell,
  path: "/agents",
  component: lazyRouteComponent(() => patient(() => import("~/pages/agents")), "AgentsPage"),
});

const tools = createRoute({
  getParentRoute: () => shell,
  path: "/tools",
  validateSearch: (said: Said) => some({ tool: text(said.tool), q: text(said.q) }),
  component: lazyRouteComponent(() => patient(() => import("~/pages/tools")), "ToolsPage"),
});

const keys = createRoute({
  getParentRoute: () => shell,
  path: "/keys",
  component: lazyRouteComponent(() => patient(() => import("~/pages/keys")), "KeysPage"),
});

const audit = createRoute({
  getParentRoute: () => shell,
  path: "/audit",
  component: lazyRouteComponent(() => patient(() => import("~/pages/audit")), "AuditPage"),
});

const settings = createRoute({
  getParentRoute: () => shell,
  path: "/settings",
  component: lazyRouteComponent(() => patient(() => import("~/pages/settings")), "SettingsPage"),
});

const routes = root.addChildren([
  login,
  shell.addChildren([
    start,
    sessions,
    session,
    runs,
    run,
    compare,
    memories,
    memory,
    queue,
    usage,
    agents,
    tools,
    keys,
    audit,
    settings,
  ]),
]);

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: routes,
    context: { queries },
    defaultPreload: "intent",
    defaultPendingComponent: PageComing,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
