// Two runs side by side, a fork and its origin above all: from the step where they part, what each said
// and called, and what it took.

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ArrowLeftRight } from "lucide-react";
import { type ReactNode, useEffect, useMemo, useState } from "react";
import { runQuery } from "~/api/queries";
import { hasEnded, type Run } from "~/api/types";
import { Figures } from "~/compare/figures";
import { COLUMNS } from "~/compare/plain-pair";
import { StepPair, TextPair } from "~/compare/step-pair";
import { pairsOf, sharedSteps, stepsOf, tookAfter } from "~/compare/steps";
import { useWords } from "~/i18n";
import { type RunView, useRunLog } from "~/run/use-run-log";
import { buttonClasses } from "~/ui/button";
import { Card, Page } from "~/ui/page";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

export function ComparePage() {
  const { id, other } = useParams({ from: "/shell/runs/$id/compare/$other" });
  const { t } = useWords();
  useTitle(t("compare.title"));
  return (
    <Page
      title={t("compare.title")}
      actions={
        <Link
          to="/runs/$id/compare/$other"
          params={{ id: other, other: id }}
          replace
          className={buttonClasses("plain")}
        >
          <ArrowLeftRight size={14} aria-hidden />
          {t("compare.swap")}
        </Link>
      }
    >
      <Compared key={`${id} ${other}`} ids={[id, other]} />
    </Page>
  );
}

function Compared({ ids }: { ids: [string, string] }) {
  const { t } = useWords();
  const queries = [useQuery(runQuery(ids[0])), useQuery(runQuery(ids[1]))] as const;
  const views = [useRunLog(ids[0]), useRunLog(ids[1])] as const;
  const [left, right] = [queries[0].data, queries[1].data];
  const sides = ([0, 1] as const).map((side) => (
    <Side
      key={side}
      name={t(side === 0 ? "compare.left" : "compare.right")}
      run={queries[side].data}
      id={ids[side]}
      error={queries[side].data ? views[side].error : queries[side].error}
      onRetry={queries[side].data ? views[side].reload : () => void queries[side].refetch()}
    />
  ));
  return (
    <div className="grid gap-6">
      <div className={COLUMNS}>{sides}</div>
      {left && right && <Differences runs={[left, right]} views={views} />}
    </div>
  );
}

type SideProps = {
  name: string;
  id: string;
  run: Run | undefined;
  error: unknown;
  onRetry: () => void;
};

/** One of the two: which it is, how it stands, and what could not be read of it. */
function Side({ name, id, run, error, onRetry }: SideProps) {
  const { t, format } = useWords();
  return (
    <Card className="grid min-w-0 content-start gap-2 p-4">
      <p className="flex min-w-0 items-center gap-2">
        <span className="text-meta whitespace-nowrap text-muted">{name}</span>
        <Link
          to="/runs/$id"
          params={{ id }}
          className="truncate font-mono text-meta text-accent hover:underline"
        >
          {id}
        </Link>
        {run && <StatusBadge status={run.status} />}
      </p>
      {!run && !error && <LoadingRows rows={1} height={20} />}
      {run && (
        <p className="flex flex-wrap items-center gap-x-3 text-meta text-muted">
          <span>{run.agent_id}</span>
          {run.model && <span className="font-mono">{run.model}</span>}
          <Ago at={run.created_at} />
          {run.duration_ms != null && (
            <span className="tabular">{format.duration(run.duration_ms)}</span>
          )}
          {run.parent_run_id && (
            <span className="text-text">
              {t("compare.is_fork", { step: run.forked_from_step ?? 0 })}
            </span>
          )}
        </p>
      )}
      {run?.error && (
        <p className="text-sm wrap-any">
          <span className="font-medium text-err">{t(`failure.${run.error.code}`)}</span>{" "}
          {run.error.message}
        </p>
      )}
      {error != null && <Failure error={error} onRetry={onRetry} />}
    </Card>
  );
}

type DifferencesProps = { runs: [Run, Run]; views: readonly [RunView, RunView] };

function Differences({ runs, views }: DifferencesProps) {
  const { t } = useWords();
  const [left, right] = runs;
  const shared = sharedSteps(left, right);
  const ours = useSteps(views[0]);
  const theirs = useSteps(views[1]);
  const pairs = useMemo(() => pairsOf(ours, theirs, shared), [ours, theirs, shared]);
  const outputs = [left.output ?? "", right.output ?? ""] as const;
  if (views.some(({ isLoading }) => isLoading)) return <LoadingRows rows={7} height={32} />;
  const isOver = runs.every(({ status }) => hasEnded(status));
  const isSame =
    isOver &&
    outputs[0] === outputs[1] &&
    left.input === right.input &&
    pairs.every(({ kind }) => kind === "same");
  return (
    <>
      <p className="text-sm text-muted">
        <Relation runs={runs} shared={shared} />
        {isSame && <strong className="ml-1 font-medium text-ok">{t("compare.identical")}</strong>}
      </p>
      <Figures
        label={shared > 0 ? t("compare.after", { step: shared + 1 }) : t("compare.took")}
        left={tookAfter(ours, shared)}
        right={tookAfter(theirs, shared)}
      />
      {left.input !== right.input && (
        <Part title={t("compare.inputs")}>
          <div className={COLUMNS}>
            <TextPair left={left.input} right={right.input} label={t("compare.inputs")} />
          </div>
        </Part>
      )}
      {(outputs[0] || outputs[1]) && (
        <Part title={t("compare.answers")}>
          <div className={COLUMNS}>
            <TextPair left={outputs[0]} right={outputs[1]} label={t("compare.answers")} />
          </div>
        </Part>
      )}
      <Part title={t("steps")}>
        {pairs.length === 0 ? (
          <Card>
            <Empty title={t("compare.no_steps")} />
          </Card>
        ) : (
          <Steps pairs={pairs} runs={runs} />
        )}
      </Part>
    </>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="grid gap-2">
      <h2 className="text-section font-semibold">{title}</h2>
      {children}
    </section>
  );
}

/** In what way the two have to do with each other. */
function Relation({ runs: [left, right], shared }: { runs: [Run, Run]; shared: number }) {
  const { t } = useWords();
  if (left.run_id === right.run_id) return t("compare.itself");
  if (shared > 0) return t("compare.shared", { n: shared });
  const isVersion =
    left.parent_run_id === right.run_id ||
    right.parent_run_id === left.run_id ||
    (left.parent_run_id && left.parent_run_id === right.parent_run_id);
  return isVersion ? t("compare.versions") : t("compare.unrelated");
}

function Steps({ pairs, runs }: { pairs: ReturnType<typeof pairsOf>; runs: [Run, Run] }) {
  const { step } = useSearch({ from: "/shell/runs/$id/compare/$other" });
  const navigate = useNavigate({ from: "/runs/$id/compare/$other" });
  /** What was opened or closed by hand; the others are open where they differ. */
  const [chosen, setChosen] = useState<ReadonlyMap<number, boolean>>(new Map());
  const isOpen = (of: (typeof pairs)[number]) =>
    chosen.get(of.step) ?? (of.step === step || of.kind !== "same");
  // biome-ignore lint/correctness/useExhaustiveDependencies: the step of the address, once
  useEffect(() => {
    if (step) document.getElementById(`step-${step}`)?.scrollIntoView();
  }, []);
  return (
    <ol className="grid gap-2">
      {pairs.map((pair) => (
        <StepPair
          key={pair.step}
          pair={pair}
          runs={runs}
          isOpen={isOpen(pair)}
          onToggle={() => {
            const next = !isOpen(pair);
            setChosen(new Map(chosen).set(pair.step, next));
            void navigate({ search: next ? { step: pair.step } : {}, replace: true });
          }}
        />
      ))}
    </ol>
  );
}

function useSteps({ log, version }: RunView) {
  // biome-ignore lint/correctness/useExhaustiveDependencies: the log grows in place
  return useMemo(() => stepsOf(log.events), [log, version]);
}
