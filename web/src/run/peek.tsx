// A look at a run beside the table: what it was about and how it went.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import { useMemo } from "react";
import { eventsQuery, runQuery } from "~/api/queries";
import { hasEnded } from "~/api/types";
import { Answer } from "~/chat/answer";
import { partsOf } from "~/chat/parts";
import { useWords } from "~/i18n";
import { buttonClasses, IconButton } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { Facts } from "~/ui/page";
import { Failure, LoadingRows } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";

export function RunPeek({ runId, onClose }: { runId: string; onClose: () => void }) {
  const { t, format } = useWords();
  const { data: run, error } = useQuery(runQuery(runId));
  const isOver = run !== undefined && hasEnded(run.status);
  const { data: events } = useQuery({ ...eventsQuery(runId), enabled: isOver });
  const parts = useMemo(() => partsOf(events ?? []), [events]);
  return (
    <aside
      aria-label={t("runs.peek")}
      className="w-[420px] shrink-0 animate-slide overflow-y-auto border-l border-line bg-panel max-lg:fixed max-lg:inset-y-0 max-lg:right-0 max-lg:z-40 max-lg:max-w-full max-lg:shadow-float"
    >
      <header className="flex items-center gap-1 px-4 pt-4">
        <code className="min-w-0 truncate font-mono text-meta font-semibold">{runId}</code>
        <CopyButton text={runId} />
        <IconButton label={t("close")} onClick={onClose} className="ml-auto">
          <X size={16} />
        </IconButton>
      </header>
      <div className="grid gap-4 px-4 pt-2 pb-6">
        {error && <Failure error={error} />}
        {!run && !error && <LoadingRows rows={5} />}
        {run && (
          <>
            <div className="flex items-center gap-2">
              <StatusBadge status={run.status} />
              <Link
                to="/runs/$id"
                params={{ id: runId }}
                className={buttonClasses("plain", "ml-auto")}
              >
                {t("runs.open")}
              </Link>
              <Link
                to="/sessions/$key"
                params={{ key: run.session_key }}
                className={buttonClasses("plain")}
              >
                {t("session")}
              </Link>
            </div>
            <Facts
              rows={[
                [t("agent"), run.agent_id],
                [t("model"), run.model ?? "–"],
                [t("created"), format.exactTime(run.created_at)],
                [t("duration"), run.duration_ms != null ? format.duration(run.duration_ms) : "–"],
                [t("steps"), format.number(run.step_count)],
                [t("tool_calls"), format.number(run.tool_call_count)],
                [
                  t("tokens"),
                  `${format.number(run.usage.input_tokens)} → ${format.number(run.usage.output_tokens)}`,
                ],
                [t("cost"), format.cost(run.cost_usd)],
              ]}
            />
            <p className="rounded-card bg-soft px-4 py-2 text-sm whitespace-pre-wrap wrap-any">
              {run.input}
            </p>
            <Answer parts={parts} />
            {run.output_cut && <p className="text-sm text-warn">{t("chat.cut")}</p>}
            {run.error && (
              <div className="rounded-control bg-err-soft px-3 py-2 text-sm">
                <p className="font-medium text-err">{t(`failure.${run.error.code}`)}</p>
                <p className="wrap-any">{run.error.message}</p>
              </div>
            )}
          </>
        )}
      </div>
    </aside>
  );
}
