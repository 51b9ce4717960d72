// The checkpoints of a run, and new runs that go on from one of them.

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { GitCompare, GitFork } from "lucide-react";
import { useState } from "react";
import { checkpointsQuery, forksQuery } from "~/api/queries";
import type { Checkpoint, Run } from "~/api/types";
import { useCan } from "~/app/identity";
import { newMessageKey, useFork } from "~/chat/send";
import { useWords } from "~/i18n";
import { Badge } from "~/ui/badge";
import { Button, buttonClasses } from "~/ui/button";
import { Dialog } from "~/ui/dialog";
import { Field, Input, Textarea } from "~/ui/field";
import { JsonView } from "~/ui/json-view";
import { LoadMore } from "~/ui/load-more";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { Ago } from "~/ui/time";

export function Checkpoints({ run }: { run: Run }) {
  const { t, format } = useWords();
  const mayWrite = useCan("runs:write");
  const list = useInfiniteQuery(checkpointsQuery(run.run_id));
  const [forking, setForking] = useState<number | null>(null);
  const checkpoints = list.data?.pages.flatMap((page) => page.checkpoints) ?? [];
  return (
    <div className="mx-auto grid h-full max-w-[940px] content-start gap-4 overflow-y-auto px-4 py-4">
      <Family run={run} />
      <CompareWith run={run} />
      {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
      {list.isPending && <LoadingRows rows={5} />}
      {list.data && checkpoints.length === 0 && <Empty title={t("checkpoints.empty")} />}
      <ol className="grid gap-2">
        {checkpoints.map((checkpoint, place) => (
          <li
            key={checkpoint.step}
            className="rounded-card border border-line bg-panel px-4 py-2.5"
          >
            <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-sm">
              <h2 className="font-medium">{t("span.step", { n: checkpoint.step })}</h2>
              {checkpoint.is_taken_over && <Badge>{t("checkpoints.taken")}</Badge>}
              <span className="text-meta text-muted tabular">
                {t("checkpoints.messages", { n: checkpoint.message_count })}
              </span>
              <span
                className="text-meta text-muted"
                title={format.exactTime(checkpoint.created_at)}
              >
                <Ago at={checkpoint.created_at} />
              </span>
              {mayWrite && (
                <Button className="ml-auto h-7" onClick={() => setForking(checkpoint.step)}>
                  <GitFork size={14} aria-hidden />
                  {t("fork.here")}
                </Button>
              )}
            </div>
            <State checkpoint={checkpoint} before={checkpoints[place - 1]} />
          </li>
        ))}
      </ol>
      <LoadMore source={list} />
      {forking !== null && <ForkDialog run={run} step={forking} onClose={() => setForking(null)} />}
    </div>
  );
}

/** The state after a step, and the keys of it that the step changed. */
function State({ checkpoint, before }: { checkpoint: Checkpoint; before: Checkpoint | undefined }) {
  const { t } = useWords();
  const was = before?.state ?? {};
  const changed = Object.entries(checkpoint.state).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(was[key]),
  );
  return (
    <details className="mt-1">
      <summary className="w-fit text-meta text-muted hover:text-text">
        {t("checkpoints.state", { n: changed.length })}
      </summary>
      <div className="mt-2 grid gap-2">
        {before && changed.length > 0 && (
          <JsonView value={Object.fromEntries(changed)} label={t("checkpoints.changed")} />
        )}
        <JsonView value={checkpoint.state} label={t("checkpoints.whole")} />
      </div>
    </details>
  );
}

/** The run that it was forked from, and those that were forked from it. */
function Family({ run }: { run: Run }) {
  const { t } = useWords();
  const { data } = useQuery(forksQuery(run.run_id));
  const forks = data?.runs ?? [];
  if (!run.parent_run_id && forks.length === 0) return null;
  return (
    <ul aria-label={t("fork.family")} className="grid gap-1 text-sm">
      {run.parent_run_id && (
        <li className="flex items-center gap-2">
          <GitFork size={14} aria-hidden className="text-muted" />
          {run.forked_from_step
            ? t("fork.from", { step: run.forked_from_step })
            : t("fork.from_start")}
          <RunLink id={run.parent_run_id} />
          <CompareLink left={run.parent_run_id} right={run.run_id} />
        </li>
      )}
      {forks.map((fork) => (
        <li key={fork.run_id} className="flex items-center gap-2">
          <GitFork size={14} aria-hidden className="text-muted" />
          {fork.forked_from_step
            ? t("fork.to", { step: fork.forked_from_step })
            : t("fork.to_start")}
          <RunLink id={fork.run_id} />
          <StatusBadge status={fork.status} />
          <CompareLink left={run.run_id} right={fork.run_id} />
        </li>
      ))}
    </ul>
  );
}

const RunLink = ({ id }: { id: string }) => (
  <Link
    to="/runs/$id"
    params={{ id }}
    search={{ tab: "checkpoints" }}
    className="truncate font-mono text-meta text-accent hover:underline"
  >
    {id}
  </Link>
);

function CompareLink({ left, right }: { left: string; right: string }) {
  const { t } = useWords();
  return (
    <Link
      to="/runs/$id/compare/$other"
      params={{ id: left, other: right }}
      className={buttonClasses("ghost", "h-7 px-2 text-meta")}
    >
      <GitCompare size={13} aria-hidden />
      {t("compare.with")}
    </Link>
  );
}

/** Any other run of the scope can be put beside this one. */
function CompareWith({ run }: { run: Run }) {
  const { t } = useWords();
  const navigate = useNavigate();
  const open = (data: FormData) => {
    const other = String(data.get("other")).trim();
    void navigate({ to: "/runs/$id/compare/$other", params: { id: run.run_id, other } });
  };
  return (
    <form action={open} className="flex items-center gap-2">
      <Input
        name="other"
        required
        pattern="\s*run_[0-9a-z]{26}\s*"
        aria-label={t("compare.other")}
        placeholder={t("compare.other")}
        className="max-w-[320px] font-mono text-meta"
      />
      <Button type="submit">
        <GitCompare size={14} aria-hidden />
        {t("compare.with")}
      </Button>
    </form>
  );
}

type ForkProps = { run: Run; step: number; onClose: () => void };

function ForkDialog({ run, step, onClose }: ForkProps) {
  const { t } = useWords();
  const navigate = useNavigate();
  // Trying again is the same fork: the server makes it once.
  const [key] = useState(newMessageKey);
  const fork = useFork();
  const make = (input: string) =>
    fork.mutate(
      { run, step, input, key },
      { onSuccess: ({ run_id }) => void navigate({ to: "/runs/$id", params: { id: run_id } }) },
    );
  return (
    <Dialog side title={t("fork.title", { step })} description={t("fork.hint")} onClose={onClose}>
      <form action={(data) => make(String(data.get("input") ?? ""))} className="grid gap-4">
        <Field label={t("fork.input")} hint={t("fork.input.hint")}>
          {(attributes) => <Textarea {...attributes} name="input" rows={6} />}
        </Field>
        {fork.error && <Failure error={fork.error} />}
        <Button look="primary" type="submit" disabled={fork.isPending}>
          {t("fork.make")}
        </Button>
      </form>
    </Dialog>
  );
}
