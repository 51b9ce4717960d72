// One run: its trace, its conversation, its events.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { GitCompare, RotateCcw, Square } from "lucide-react";
import { useEffect } from "react";
import { answered, api } from "~/api/client";
import { runQuery } from "~/api/queries";
import { hasEnded, type Run } from "~/api/types";
import { ConnectionPill } from "~/app/connection";
import { useCan } from "~/app/identity";
import { newMessageKey, useSend } from "~/chat/send";
import { Turn } from "~/chat/turn";
import { useWords } from "~/i18n";
import { RUN_TABS } from "~/router";
import { Checkpoints } from "~/run/checkpoints";
import { Context } from "~/run/context/context";
import { EventList } from "~/run/event-list";
import type { Spans } from "~/run/spans";
import { Trace } from "~/run/trace/trace";
import { type RunView, useRunTrace } from "~/run/use-run-log";
import { Badge, Figure } from "~/ui/badge";
import { Button, buttonClasses } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { Failure } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { LinkTabs } from "~/ui/tabs";
import { Elapsed } from "~/ui/time";
import { useTitle } from "~/ui/title";
import { toast } from "~/ui/toasts";

export function RunPage() {
  const { id } = useParams({ from: "/shell/runs/$id" });
  return <OneRun key={id} id={id} />;
}

function OneRun({ id }: { id: string }) {
  const { t } = useWords();
  useTitle(id);
  const { tab = "trace" } = useSearch({ from: "/shell/runs/$id" });
  const queries = useQueryClient();
  const { data: run, error, refetch } = useQuery(runQuery(id));
  const view = useRunTrace(id);
  const isOver = view.log.hasEnded;

  useEffect(() => {
    if (isOver) void queries.invalidateQueries({ queryKey: runQuery(id).queryKey });
  }, [isOver, queries, id]);

  if (error && !run) {
    return (
      <div className="p-6">
        <Failure error={error} onRetry={() => refetch()} />
      </div>
    );
  }
  return (
    <div className="flex h-full min-h-0 flex-col bg-panel [--name-width:230px] min-[1400px]:[--name-width:340px]">
      <Header id={id} run={run} view={view} />
      {run?.error && tab !== "chat" && (
        <p className="px-4 py-1 text-sm wrap-any">
          <span className="font-medium text-err">{t(`failure.${run.error.code}`)}</span>{" "}
          {run.error.message}
        </p>
      )}
      <LinkTabs
        label={t("run.parts")}
        active={tab}
        tabs={RUN_TABS.map((one) => ({
          id: one,
          name: t(`run.tab.${one}`),
          link: {
            to: "/runs/$id",
            params: { id },
            search: one === "trace" ? {} : { tab: one },
            replace: true,
          },
        }))}
      />
      {view.error != null && (
        <div className="px-4 pt-3">
          <Failure error={view.error} onRetry={view.reload} />
        </div>
      )}
      <div className="min-h-0 grow">
        {tab === "trace" && <Trace view={view} runId={id} />}
        {tab === "chat" && run && <Chat run={run} />}
        {tab === "context" && <Context view={view} runId={id} />}
        {tab === "checkpoints" && run && <Checkpoints run={run} />}
        {tab === "events" && <EventList runId={id} />}
      </div>
    </div>
  );
}

function Header({ id, run, view }: { id: string; run: Run | undefined; view: RunView<Spans> }) {
  const { t, format } = useWords();
  return (
    <header className="flex flex-wrap items-center gap-x-2 gap-y-1.5 px-4 pt-3 pb-1">
      <h1 className="min-w-0 truncate font-mono text-sm font-semibold" title={id}>
        {id}
      </h1>
      <CopyButton text={id} label={t("run.id")} />
      {run && (
        <>
          <StatusBadge status={run.status} />
          {run.output_cut && <Badge tone="warn">{t("run.cut")}</Badge>}
          <ConnectionPill link={view.link} />
          <Figure title={t("duration")}>
            {run.duration_ms != null ? (
              format.duration(run.duration_ms)
            ) : (
              <Elapsed since={Date.parse(run.started_at ?? run.created_at)} />
            )}
          </Figure>
          <Figure title={t("tokens")}>
            {t("tokens.short", { n: format.tokens(run.usage.total_tokens) })}
          </Figure>
          <Figure title={t("cost")}>{format.cost(run.cost_usd)}</Figure>
          <Link
            to="/sessions/$key"
            params={{ key: run.session_key }}
            className="max-w-[180px] truncate text-meta text-accent hover:underline"
          >
            {run.session_key}
          </Link>
          <Actions run={run} />
        </>
      )}
    </header>
  );
}

function Actions({ run }: { run: Run }) {
  const { t } = useWords();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const mayWrite = useCan("runs:write");
  const send = useSend();
  const cancel = useMutation({
    mutationFn: () =>
      answered(api.POST("/api/runs/{run_id}/cancel", { params: { path: { run_id: run.run_id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: runQuery(run.run_id).queryKey }),
    onError: (error) => toast(error.message),
  });
  const again = () =>
    send.mutate(
      {
        input: run.input,
        session: run.session_key,
        agent: run.agent_id,
        key: newMessageKey(),
      },
      {
        onSuccess: ({ run_id }) => void navigate({ to: "/runs/$id", params: { id: run_id } }),
        onError: (error) => toast(error.message),
      },
    );
  return (
    <div className="ml-auto flex items-center gap-2">
      <CopyButton text={location.href}>{t("run.link")}</CopyButton>
      {run.parent_run_id && (
        <Link
          to="/runs/$id/compare/$other"
          params={{ id: run.parent_run_id, other: run.run_id }}
          className={buttonClasses("plain")}
        >
          <GitCompare size={14} aria-hidden />
          {t("compare.with_origin")}
        </Link>
      )}
      {mayWrite && hasEnded(run.status) && (
        <Button onClick={again} disabled={send.isPending}>
          <RotateCcw size={14} aria-hidden />
          {t("run.again")}
        </Button>
      )}
      {mayWrite && !hasEnded(run.status) && (
        <Button look="danger" onClick={() => cancel.mutate()} disabled={cancel.isPending}>
          <Square size={13} aria-hidden />
          {t("run.cancel")}
        </Button>
      )}
    </div>
  );
}

function Chat({ run }: { run: Run }) {
  return (
    <div className="h-full overflow-y-auto bg-bg">
      <div className="mx-auto max-w-[760px] px-4 pt-6">
        <Turn run={run} actions={{}} />
      </div>
    </div>
  );
}
