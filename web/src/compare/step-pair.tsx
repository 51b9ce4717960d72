// One step of two runs: what it said and called on either side.

import { clsx } from "clsx";
import { ChevronRight } from "lucide-react";
import { lazy, Suspense } from "react";
import type { Run } from "~/api/types";
import { patient } from "~/app/patient";
import { useWords } from "~/i18n";
import { Badge, Figure, type Tone } from "~/ui/badge";
import { COLUMNS, PlainPair, type PlainPairProps } from "./plain-pair";
import type { Call, Pair, Step } from "./steps";

const Marked = lazy(() => patient(() => import("./text-pair")));

const TONES: Record<Pair["kind"], Tone> = {
  same: "neutral",
  differs: "warn",
  left: "accent",
  right: "accent",
};

type Props = { pair: Pair; runs: [Run, Run]; isOpen: boolean; onToggle: () => void };

export function StepPair({ pair, runs, isOpen, onToggle }: Props) {
  const { t } = useWords();
  const { step, left, right, kind } = pair;
  return (
    <li id={`step-${step}`} className="scroll-mt-4 rounded-card border border-line bg-panel">
      <h3>
        <button
          type="button"
          aria-expanded={isOpen}
          onClick={onToggle}
          className="flex min-h-10 w-full items-center gap-2.5 rounded-card px-3 text-left text-sm font-medium hover:bg-hover"
        >
          <ChevronRight size={14} aria-hidden className={clsx(isOpen && "rotate-90")} />
          {t("span.step", { n: step })}
          <Badge tone={TONES[kind]}>{t(`compare.${kind}.step`)}</Badge>
          <span className="truncate font-mono text-meta font-normal text-muted">
            {namesOf(left ?? right)}
          </span>
        </button>
      </h3>
      {isOpen && (
        <div className={clsx(COLUMNS, "border-t border-line px-3 py-3")}>
          <About step={left} number={step} run={runs[0]} />
          <About step={right} number={step} run={runs[1]} />
          {left && right && <Both left={left} right={right} />}
          {left && !right && <Alone step={left} at="left" />}
          {right && !left && <Alone step={right} at="right" />}
        </div>
      )}
    </li>
  );
}

/** Two texts with what differs; as they are until the program that finds it is there. */
export function TextPair(props: PlainPairProps) {
  return (
    <Suspense fallback={<PlainPair {...props} />}>
      <Marked {...props} />
    </Suspense>
  );
}

const namesOf = (step: Step | null) => step?.calls.map(({ name }) => name).join(" · ");

/** What the step took, or why this run has none of its own. */
function About({ step, number, run }: { step: Step | null; number: number; run: Run }) {
  const { t, format } = useWords();
  if (!step) {
    const isTaken = number <= (run.forked_from_step ?? 0) && run.parent_run_id;
    return (
      <p className="text-sm text-muted wrap-any">
        {isTaken ? t("compare.taken", { run: run.parent_run_id! }) : t("compare.absent")}
      </p>
    );
  }
  const { inputTokens, outputTokens, costUsd, ms } = step.took;
  return (
    <p className="flex flex-wrap items-center gap-1.5">
      <Figure title={t("duration")}>{format.duration(ms)}</Figure>
      <Figure title={t("tokens")}>
        {t("tokens.short", { n: format.tokens(inputTokens + outputTokens) })}
      </Figure>
      <Figure title={t("cost")}>{format.cost(costUsd)}</Figure>
    </p>
  );
}

function Both({ left, right }: { left: Step; right: Step }) {
  const { t } = useWords();
  const calls = Math.max(left.calls.length, right.calls.length);
  return (
    <>
      {(left.text || right.text) && (
        <TextPair left={left.text} right={right.text} label={t("compare.said")} />
      )}
      {Array.from({ length: calls }, (_, place) => (
        <CallPair
          // biome-ignore lint/suspicious/noArrayIndexKey: calls of a step stay where they are
          key={place}
          left={left.calls[place]}
          right={right.calls[place]}
        />
      ))}
    </>
  );
}

function CallPair({ left, right }: { left: Call | undefined; right: Call | undefined }) {
  return (
    <>
      <CallHead call={left} />
      <CallHead call={right} />
      <TextPair left={wordsOf(left)} right={wordsOf(right)} label={(left ?? right)!.name} />
    </>
  );
}

function CallHead({ call }: { call: Call | undefined }) {
  const { format } = useWords();
  if (!call) return <p aria-hidden />;
  return (
    <p className="mt-1 flex items-center gap-2 text-meta text-muted">
      <code className={clsx("truncate font-mono", call.result?.isError && "text-err")}>
        {call.name}
      </code>
      {call.result && <span className="tabular">{format.duration(call.result.ms)}</span>}
      {call.result?.isError && <span className="text-err">{call.result.outcome}</span>}
    </p>
  );
}

/** What a call was given and what came back, as text. */
function wordsOf(call: Call | undefined): string {
  if (!call) return "";
  const value = (one: unknown) => (typeof one === "string" ? one : JSON.stringify(one, null, 2));
  const parts = [value(call.args), call.result && value(call.result.value)];
  return parts.filter(Boolean).join("\n\n");
}

/** A step that only one of the runs has, on its side. */
function Alone({ step, at }: { step: Step; at: "left" | "right" }) {
  return (
    <div className={clsx("grid gap-2", at === "right" && "md:col-start-2")}>
      {step.text && <Words>{step.text}</Words>}
      {step.calls.map((call) => (
        <div key={call.id} className="grid gap-2">
          <CallHead call={call} />
          <Words>{wordsOf(call)}</Words>
        </div>
      ))}
    </div>
  );
}

const Words = ({ children }: { children: string }) => (
  <p className="max-h-[420px] overflow-y-auto rounded-control bg-sunken px-3 py-2 text-sm whitespace-pre-wrap wrap-any">
    {children}
  </p>
);
