// One turn of a conversation: what was asked, and all that came of it.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Pencil, RefreshCw } from "lucide-react";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { eventsQuery, runQuery } from "~/api/queries";
import { hasEnded, type Run } from "~/api/types";
import { useWords } from "~/i18n";
import { bytes } from "~/i18n/format";
import { useRunLog } from "~/run/use-run-log";
import { Figure } from "~/ui/badge";
import { IconButton } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { Failure } from "~/ui/states";
import { Elapsed } from "~/ui/time";
import { useIsSeen } from "~/ui/use-is-seen";
import { Answer } from "./answer";
import { type Part, partsOf } from "./parts";

export type TurnActions = { onRetry?: (run: Run) => void; onEdit?: (run: Run) => void };

type Props = { run: Run; actions: TurnActions; onGrow?: () => void };

export function Turn({ run, actions, onGrow }: Props) {
  // A run that was seen at work keeps its log when it ends: nothing is drawn anew.
  const [isLive] = useState(() => !hasEnded(run.status));
  return (
    <article className="grid gap-4 pb-7 [contain-intrinsic-size:auto_160px] [content-visibility:auto]">
      <Asked run={run} />
      {isLive ? (
        <LiveAnswer run={run} actions={actions} onGrow={onGrow} />
      ) : (
        <PastAnswer run={run} actions={actions} />
      )}
    </article>
  );
}

/** What was asked. Lists have the beginning of a long one; the rest is read when it is wanted. */
export function Asked({ run }: { run: Run }) {
  const { t } = useWords();
  const [isWanted, setWanted] = useState(false);
  const { data } = useQuery({ ...runQuery(run.run_id), enabled: isWanted });
  const { input } = data ?? run;
  const shown = new Blob([input]).size;
  return (
    <div className="ml-auto max-w-[80%] rounded-card rounded-br-badge bg-soft px-4 py-2">
      <p className="whitespace-pre-wrap wrap-any">{input}</p>
      {shown < run.input_bytes && (
        <button
          type="button"
          onClick={() => setWanted(true)}
          className="mt-1 text-sm text-accent hover:underline"
        >
          {t("json.cut", { shown: bytes(shown), size: bytes(run.input_bytes) })}
        </button>
      )}
    </div>
  );
}

function PastAnswer({ run, actions }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const isSeen = useIsSeen(frame);
  // What it did on the way is read when it is looked at; what it said, or its beginning, is in the row.
  const {
    data: events,
    error,
    refetch,
  } = useQuery({
    ...eventsQuery(run.run_id),
    enabled: isSeen,
  });
  const parts = useMemo(() => (events ? partsOf(events) : said(run)), [events, run]);
  return (
    <div ref={frame}>
      <Outcome run={run} parts={parts} actions={actions}>
        {error && <Failure error={error} onRetry={() => refetch()} />}
      </Outcome>
    </div>
  );
}

function LiveAnswer({ run, actions, onGrow }: Props) {
  const { t } = useWords();
  const queries = useQueryClient();
  const { log, version, error, reload } = useRunLog(run.run_id);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the log grows in place
  const parts = useMemo(() => partsOf(log.events, log.drafts), [log, version]);
  const isOver = log.hasEnded;

  // biome-ignore lint/correctness/useExhaustiveDependencies: told whenever something came
  useEffect(() => onGrow?.(), [version]);
  useEffect(() => {
    if (!isOver) return;
    void queries.invalidateQueries({ queryKey: ["session", run.session_key] });
    void queries.invalidateQueries({ queryKey: runQuery(run.run_id).queryKey });
  }, [isOver, queries, run.session_key, run.run_id]);

  if (error) return <Failure error={error} onRetry={reload} />;
  return (
    <Outcome run={run} parts={parts} actions={actions}>
      {!isOver && (
        <p className="flex items-center gap-2 text-sm text-muted">
          <span aria-hidden className="size-1.5 animate-breathe rounded-full bg-accent" />
          {log.last === 0 ? t("chat.queued") : t("chat.working")}
          <Elapsed since={Date.parse(log.events[0]?.ts ?? run.created_at)} />
        </p>
      )}
      <Announcer parts={parts} isOver={isOver} />
    </Outcome>
  );
}

/** The answer, how it ended, and what can be done about it. */
function Outcome(props: { run: Run; parts: Part[]; actions: TurnActions; children?: ReactNode }) {
  const { run, parts, actions, children } = props;
  const { t, format } = useWords();
  const text = parts.findLast((part) => part.kind === "text")?.text;
  return (
    <div className="grid gap-3">
      <Answer parts={parts} />
      {run.status === "failed" && run.error && (
        <div className="rounded-control border border-line bg-err-soft px-3 py-2 text-sm">
          <p className="font-medium text-err">{t(`failure.${run.error.code}`)}</p>
          <p className="wrap-any text-text">{run.error.message}</p>
        </div>
      )}
      {run.output_cut && <p className="text-sm text-warn">{t("chat.cut")}</p>}
      {run.status === "cancelled" && <p className="text-sm text-muted">{t("chat.cancelled")}</p>}
      {children}
      {hasEnded(run.status) && (
        <footer className="flex flex-wrap items-center gap-1">
          <Figure>
            {[
              run.duration_ms != null && format.duration(run.duration_ms),
              t("tokens.short", { n: format.tokens(run.usage.total_tokens) }),
              format.cost(run.cost_usd),
            ]
              .filter(Boolean)
              .join(" · ")}
          </Figure>
          <Link
            to="/runs/$id"
            params={{ id: run.run_id }}
            className="rounded-control px-2 py-1 text-meta text-accent hover:underline"
          >
            {t("chat.trace")}
          </Link>
          {text && <CopyButton text={text} />}
          {actions.onRetry && (
            <IconButton
              label={t("chat.retry")}
              className="size-7"
              onClick={() => actions.onRetry?.(run)}
            >
              <RefreshCw size={14} />
            </IconButton>
          )}
          {actions.onEdit && (
            <IconButton
              label={t("chat.edit")}
              className="size-7"
              onClick={() => actions.onEdit?.(run)}
            >
              <Pencil size={14} />
            </IconButton>
          )}
        </footer>
      )}
    </div>
  );
}

/** For screen readers: what happens, once, and not every word of it. */
function Announcer({ parts, isOver }: { parts: Part[]; isOver: boolean }) {
  const { t } = useWords();
  const tool = parts.findLast((part) => part.kind === "tool" && part.result === null);
  const words = isOver
    ? t("chat.complete")
    : tool?.kind === "tool"
      ? t("chat.running", { tool: tool.name })
      : t("chat.working");
  return (
    <p role="status" className="sr-only">
      {words}
    </p>
  );
}

/** What the row alone says. */
function said(run: Run): Part[] {
  if (!run.output) return [];
  return [{ kind: "text", id: "output", text: run.output, isDraft: false }];
}
