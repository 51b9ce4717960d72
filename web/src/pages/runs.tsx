// Runs, the latest first: filtered by the address, live, with a look at one beside the table.

import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { agentsQuery, type RunFilters, runsQuery } from "~/api/queries";
import { RUN_STATUSES, type Run, type RunStatus } from "~/api/types";
import { isSingleKey } from "~/app/keys";
import { useWords } from "~/i18n";
import { useRunNews } from "~/live/use-run-news";
import { RunPeek } from "~/run/peek";
import { Button, buttonClasses } from "~/ui/button";
import { Select } from "~/ui/field";
import { LoadMore } from "~/ui/load-more";
import { Page } from "~/ui/page";
import { SearchInput } from "~/ui/search-input";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { Cell, Head, Row, Table } from "~/ui/table";
import { Ago, Elapsed } from "~/ui/time";
import { useTitle } from "~/ui/title";

export function RunsPage() {
  const { t } = useWords();
  useTitle(t("nav.runs"));
  const search = useSearch({ from: "/shell/runs" });
  const navigate = useNavigate({ from: "/runs" });
  const { peek: peeked, ...filters } = search;
  const list = useInfiniteQuery({
    ...runsQuery(filters),
    refetchInterval: useRunNews(),
    placeholderData: keepPreviousData,
  });
  const all = list.data?.pages.flatMap((page) => page.runs) ?? [];
  const { runs, newer, showNewer } = useSteady(all, JSON.stringify(filters));
  const isFiltered = Object.values(filters).some(Boolean);
  const peek = (id: string | undefined) =>
    void navigate({ search: (said) => ({ ...said, peek: id }), replace: true });
  useListKeys(runs, peeked, peek, (id) => void navigate({ to: "/runs/$id", params: { id } }));

  return (
    <div className="flex h-full">
      <div className="min-w-0 grow">
        <Page title={t("nav.runs")} actions={<Filters filters={filters} />}>
          {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
          {list.isPending && <LoadingRows />}
          {list.data && all.length === 0 && (
            <Empty title={isFiltered ? t("runs.none") : t("runs.empty")}>
              {isFiltered ? (
                <Button onClick={() => void navigate({ search: {} })}>{t("filters.clear")}</Button>
              ) : (
                <>
                  <Link to="/" className={buttonClasses("primary")}>
                    {t("sessions.start")}
                  </Link>
                  <CommandLine>{'openintern run "hello" --stream'}</CommandLine>
                </>
              )}
            </Empty>
          )}
          {newer > 0 && (
            <div className="mb-2 grid place-items-center" role="status">
              <Button look="ghost" className="h-7 text-accent" onClick={showNewer}>
                {t("runs.newer", { n: newer })}
              </Button>
            </div>
          )}
          {runs.length > 0 && <RunTable runs={runs} peeked={peeked} onPeek={peek} />}
          <LoadMore source={list} />
        </Page>
      </div>
      {peeked && <RunPeek key={peeked} runId={peeked} onClose={() => peek(undefined)} />}
    </div>
  );
}

const HOURS = [1, 24, 7 * 24, 30 * 24];
const COSTS = [0.001, 0.01, 0.1, 1];

function Filters({ filters }: { filters: RunFilters }) {
  const { t, format } = useWords();
  const navigate = useNavigate({ from: "/runs" });
  const { data } = useQuery(agentsQuery);
  const set = (changes: RunFilters) =>
    void navigate({ search: (said) => ({ ...said, ...changes }), replace: true });
  return (
    <>
      {filters.session && (
        <Button
          className="max-w-[240px] font-normal"
          onClick={() =>
            void navigate({ search: (said) => ({ ...said, session: undefined }), replace: true })
          }
        >
          <span className="truncate">{t("runs.session", { session: filters.session })}</span>
          <span aria-hidden>×</span>
        </Button>
      )}
      <SearchInput
        label={t("runs.search")}
        value={filters.q ?? ""}
        onChange={(q) => set({ q: q || undefined })}
      />
      <Select
        aria-label={t("runs.time")}
        value={filters.hours ?? ""}
        onChange={(event) => set({ hours: Number(event.target.value) || undefined })}
      >
        <option value="">{t("runs.any_time")}</option>
        {HOURS.map((n) => (
          <option key={n} value={n}>
            {n < 48 ? t("runs.hours", { n }) : t("runs.days", { n: n / 24 })}
          </option>
        ))}
      </Select>
      <Select
        aria-label={t("cost")}
        value={filters.min_cost ?? ""}
        onChange={(event) => set({ min_cost: Number(event.target.value) || undefined })}
      >
        <option value="">{t("runs.any_cost")}</option>
        {COSTS.map((usd) => (
          <option key={usd} value={usd}>
            {t("runs.cost", { cost: format.cost(usd) })}
          </option>
        ))}
      </Select>
      <Select
        aria-label={t("status")}
        value={filters.status ?? ""}
        onChange={(event) => set({ status: (event.target.value as RunStatus) || undefined })}
      >
        <option value="">{t("runs.all")}</option>
        {RUN_STATUSES.map((status) => (
          <option key={status} value={status}>
            {t(`status.${status}`)}
          </option>
        ))}
      </Select>
      {data && data.agents.length > 1 && (
        <Select
          aria-label={t("agent")}
          value={filters.agent ?? ""}
          onChange={(event) => set({ agent: event.target.value || undefined })}
        >
          <option value="">{t("runs.agents")}</option>
          {data.agents.map(({ agent_id }) => (
            <option key={agent_id}>{agent_id}</option>
          ))}
        </Select>
      )}
    </>
  );
}

type TableProps = { runs: Run[]; peeked: string | undefined; onPeek: (id: string) => void };

function RunTable({ runs, peeked, onPeek }: TableProps) {
  const { t, format } = useWords();
  return (
    <Table label={t("nav.runs")}>
      <Head
        columns={[
          { name: t("status"), width: "112px" },
          { name: t("id") },
          { name: t("input") },
          { name: t("agent") },
          { name: t("started") },
          { name: t("duration"), align: "right" },
          { name: t("tokens"), align: "right" },
          { name: t("cost"), align: "right" },
        ]}
      />
      <tbody>
        {runs.map((run) => (
          <Row
            key={run.run_id}
            aria-selected={run.run_id === peeked}
            onClick={() => onPeek(run.run_id)}
            className="cursor-pointer aria-selected:bg-soft"
          >
            <Cell>
              <StatusBadge status={run.status} />
            </Cell>
            <Cell>
              <Link
                to="/runs/$id"
                params={{ id: run.run_id }}
                title={run.run_id}
                onClick={(event) => event.stopPropagation()}
                className="font-mono text-meta whitespace-nowrap text-accent hover:underline"
              >
                {shortId(run.run_id)}
              </Link>
            </Cell>
            <Cell className="w-full max-w-0 min-w-[96px] truncate">
              {run.input.split("\n", 1)[0]}
            </Cell>
            <Cell quiet className="max-w-[120px] truncate">
              {run.agent_id}
            </Cell>
            <Cell quiet>
              <Ago at={run.started_at ?? run.created_at} />
            </Cell>
            <Cell align="right">
              {run.duration_ms != null ? (
                format.duration(run.duration_ms)
              ) : run.started_at ? (
                <Elapsed since={Date.parse(run.started_at)} />
              ) : (
                ""
              )}
            </Cell>
            <Cell align="right">{format.tokens(run.usage.total_tokens)}</Cell>
            <Cell align="right">{format.cost(run.cost_usd)}</Cell>
          </Row>
        ))}
      </tbody>
    </Table>
  );
}

/** `run_…` and the end, which differs between neighbours. */
const shortId = (id: string) => `run_…${id.slice(-8)}`;

/** Rows that come while one reads wait above the table, so that none moves under the pointer. */
function useSteady(all: Run[], filters: string) {
  const [seen, setSeen] = useState<{ filters: string; first: string | undefined }>({
    filters,
    first: undefined,
  });
  const first = all[0]?.run_id;
  if (seen.filters !== filters || (seen.first === undefined && first !== undefined)) {
    setSeen({ filters, first });
  }
  const newer = Math.max(
    0,
    all.findIndex(({ run_id }) => run_id === seen.first),
  );
  return {
    runs: all.slice(newer),
    newer,
    showNewer: () => setSeen({ filters, first }),
  };
}

/** `j` and `k` go through the list as it is filtered; Enter opens. */
function useListKeys(
  runs: Run[],
  peeked: string | undefined,
  peek: (id: string | undefined) => void,
  open: (id: string) => void,
) {
  const act = useRef<(event: KeyboardEvent) => void>(() => {});
  act.current = (event) => {
    if (!isSingleKey(event)) return;
    const at = runs.findIndex(({ run_id }) => run_id === peeked);
    const to = (index: number) => {
      const run = runs[Math.min(runs.length - 1, Math.max(0, index))];
      if (run) peek(run.run_id);
    };
    if (event.key === "j") to(at + 1);
    else if (event.key === "k") to(at - 1);
    else if (event.key === "Escape" && peeked) peek(undefined);
    else if (event.key === "Enter" && peeked && event.target === document.body) open(peeked);
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => act.current(event);
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
