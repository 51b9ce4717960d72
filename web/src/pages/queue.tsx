// How much waits and works, and who works on it.

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useEffect, useState } from "react";
import { healthQuery, queueQuery, runsQuery } from "~/api/queries";
import { useCan } from "~/app/identity";
import { useWords } from "~/i18n";
import { useRunNews } from "~/live/use-run-news";
import { Nodes } from "~/queue/nodes";
import { Badge } from "~/ui/badge";
import { Card, Page } from "~/ui/page";
import { Sparkline } from "~/ui/sparkline";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { Cell, Head, Row, Table } from "~/ui/table";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

/** What is drawn of each figure: ten minutes at two seconds. */
const POINTS_MAX = 300;
/** Figures older than this are said to be. */
const STALE_MS = 60_000;

export function QueuePage() {
  const { t, format } = useWords();
  useTitle(t("nav.queue"));
  const queue = useQuery(queueQuery);
  const { data } = queue;
  const history = useHistory(data, queue.dataUpdatedAt);
  const isStale = queue.isError && data && Date.now() - queue.dataUpdatedAt > STALE_MS;
  return (
    <Page title={t("nav.queue")}>
      {queue.error && <Failure error={queue.error} onRetry={() => queue.refetch()} />}
      {isStale && (
        <p className="py-2 text-sm text-warn">
          {t("stale", { ago: format.ago(new Date(queue.dataUpdatedAt).toISOString()) })}
        </p>
      )}
      {!data && !queue.error && <LoadingRows rows={3} />}
      {data && (
        <div className="grid gap-6">
          <div className="grid grid-cols-4 gap-3 max-lg:grid-cols-2">
            {(["ready", "in_line", "running"] as const).map((name) => (
              <Card key={name} className="p-4">
                <p className="text-sm text-muted">{t(`queue.${name}`)}</p>
                <p className="text-figure font-semibold tabular">{format.number(data[name])}</p>
                <Sparkline values={history.map((point) => point[name])} />
                <p className="mt-1 text-meta text-faint">{t(`queue.${name}.hint`)}</p>
              </Card>
            ))}
            <Card className="p-4">
              <p className="text-sm text-muted">{t("queue.oldest")}</p>
              <p className="text-figure font-semibold tabular">
                {data.oldest_wait_ms == null ? "–" : format.duration(data.oldest_wait_ms)}
              </p>
              <Sparkline values={history.map((point) => point.oldest_wait_ms ?? 0)} />
              <p className="mt-1 text-meta text-faint">{t("queue.oldest.hint")}</p>
            </Card>
          </div>
          <Workers />
          <AtWork />
        </div>
      )}
    </Page>
  );
}

/** All of them together for everybody; each by itself for those who may see the nodes. */
function Workers() {
  const { t, format } = useWords();
  const maySeeNodes = useCan("admin");
  const { data, error, refetch } = useQuery(healthQuery);
  const workers = data?.workers;
  return (
    <section>
      <h2 className="mb-2 flex items-center gap-3 text-section font-semibold">
        {t("workers")}
        {data && (
          <Badge dot tone={data.status === "ok" ? "ok" : "warn"}>
            {t(`health.${data.status}`)}
          </Badge>
        )}
      </h2>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {workers && (
        <Card className="mb-3 p-4">
          <p className="text-sm">
            {t("workers.nodes", { n: workers.nodes })}{" "}
            <span className="text-muted">
              {t("workers.load", {
                running: format.number(workers.running),
                capacity: format.number(workers.capacity),
              })}
            </span>
          </p>
          <div aria-hidden className="mt-2 h-2 overflow-hidden rounded-full bg-sunken">
            <div
              className={clsx("h-full bg-accent", workers.running > 0 && "min-w-0.5")}
              style={{ width: `${(workers.running / Math.max(1, workers.capacity)) * 100}%` }}
            />
          </div>
        </Card>
      )}
      {maySeeNodes ? <Nodes /> : <p className="text-meta text-muted">{t("nodes.right")}</p>}
    </section>
  );
}

/** Runs of the scope that have not ended. */
function AtWork() {
  const { t } = useWords();
  const refetchInterval = useRunNews();
  const running = useInfiniteQuery({
    ...runsQuery({ status: "running" }),
    refetchInterval,
  });
  const pending = useInfiniteQuery({
    ...runsQuery({ status: "pending" }),
    refetchInterval,
  });
  const lists = [running, pending];
  const runs = lists.flatMap(({ data }) => data?.pages[0]?.runs ?? []);
  const failed = lists.find(({ error }) => error);
  const areRead = lists.every(({ data }) => data);
  return (
    <section>
      <h2 className="mb-2 text-section font-semibold">{t("queue.runs")}</h2>
      {failed && <Failure error={failed.error} onRetry={() => failed.refetch()} />}
      {!areRead && !failed && <LoadingRows rows={3} />}
      {areRead && runs.length === 0 && (
        <Card>
          <Empty title={t("queue.idle")} />
        </Card>
      )}
      {runs.length > 0 && (
        <Table label={t("queue.runs")}>
          <Head
            columns={[
              { name: t("status"), width: "112px" },
              { name: t("input") },
              { name: t("session") },
              { name: t("created"), align: "right" },
            ]}
          />
          <tbody>
            {runs.map((run) => (
              <Row key={run.run_id}>
                <Cell>
                  <StatusBadge status={run.status} />
                </Cell>
                <Cell className="w-full max-w-0 truncate">
                  <Link to="/runs/$id" params={{ id: run.run_id }} className="hover:underline">
                    {run.input.split("\n", 1)[0]}
                  </Link>
                </Cell>
                <Cell quiet className="max-w-[200px] truncate font-mono text-meta">
                  {run.session_key}
                </Cell>
                <Cell align="right" quiet>
                  <Ago at={run.created_at} />
                </Cell>
              </Row>
            ))}
          </tbody>
        </Table>
      )}
    </section>
  );
}

/** What the figures have been since the page was opened. */
function useHistory<T>(value: T | undefined, at: number): T[] {
  const [points, setPoints] = useState<T[]>([]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a reading each time, the same or not
  useEffect(() => {
    if (value !== undefined) setPoints((all) => [...all.slice(1 - POINTS_MAX), value]);
  }, [at]);
  return points;
}
