// What filled the prompt of each model call: a bar for each, and of the chosen one every part with its
// tokens, what it was made of, and how it differs from the call before.

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useMemo, useRef, useState } from "react";
import { contextQuery } from "~/api/queries";
import type { ContextSegment, SegmentKind, StepContext } from "~/api/types";
import { useWords } from "~/i18n";
import { Figure } from "~/ui/badge";
import { JsonView } from "~/ui/json-view";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { useIsSeen } from "~/ui/use-is-seen";
import type { Spans } from "../spans";
import type { RunView } from "../use-run-log";
import { newIn, roomOf, wordsOf } from "./words";

/** Colours of the parts; what is written beside them says the same. */
const FILLS: Record<SegmentKind, string> = {
  tools: "bg-mark-step",
  system: "bg-mark-llm",
  core_memory: "bg-mark-memory",
  history_summary: "bg-syn-key",
  turns: "bg-accent",
  task: "bg-mark-tool",
  summary: "bg-syn-num",
  memory: "bg-ok",
  steps: "bg-mark-note",
  answer: "bg-line",
};

type Props = { view: RunView<Spans>; runId: string };

export function Context({ view, runId }: Props) {
  const { t } = useWords();
  const { log: spans, version } = view;
  const { step } = useSearch({ from: "/shell/runs/$id" });
  // biome-ignore lint/correctness/useExhaustiveDependencies: spans grow in place
  const steps = useMemo(() => stepsOf(spans.all), [spans, version]);
  if (steps.length === 0) {
    if (!view.isLoading) return <Empty title={t("context.empty")} />;
    return (
      <div className="px-4">
        <LoadingRows rows={6} height={44} />
      </div>
    );
  }
  const shown = step !== undefined && steps.includes(step) ? step : steps.at(-1)!;
  const before = steps[steps.indexOf(shown) - 1];
  return (
    <div className="flex h-full min-h-0 max-lg:flex-col max-lg:overflow-y-auto">
      <ol
        aria-label={t("context.calls")}
        className="w-[380px] shrink-0 overflow-y-auto border-r border-line py-2 max-lg:max-h-[40vh] max-lg:w-full max-lg:border-r-0 max-lg:border-b"
      >
        {steps.map((one) => (
          <Call key={one} runId={runId} step={one} isShown={one === shown} />
        ))}
      </ol>
      <div className="min-w-0 grow overflow-y-auto px-5 py-4">
        <Prompt key={shown} runId={runId} step={shown} before={before} />
      </div>
    </div>
  );
}

/** The steps in which a model was asked. */
function stepsOf(spans: Spans["all"]): number[] {
  const asked = spans.filter(({ kind, step }) => kind === "llm" && step !== null);
  return [...new Set(asked.map(({ step }) => step!))];
}

function Call({ runId, step, isShown }: { runId: string; step: number; isShown: boolean }) {
  const { t, format } = useWords();
  const navigate = useNavigate({ from: "/runs/$id" });
  const frame = useRef<HTMLLIElement>(null);
  const isSeen = useIsSeen(frame);
  const { data } = useQuery({ ...contextQuery(runId, step), enabled: isSeen });
  return (
    <li ref={frame}>
      <button
        type="button"
        aria-pressed={isShown}
        onClick={() => void navigate({ search: (said) => ({ ...said, step }), replace: true })}
        className="grid h-12 w-full content-center gap-1.5 px-4 text-left hover:bg-hover aria-pressed:bg-soft"
      >
        <span className="flex items-baseline justify-between text-sm">
          <span>{t("span.step", { n: step })}</span>
          <span className="text-meta text-muted tabular">
            {data &&
              `${format.tokens(data.input_tokens)} / ${format.tokens(roomOf(data.segments))}`}
          </span>
        </span>
        <Bar context={data ?? null} />
      </button>
    </li>
  );
}

/** How the parts share the window; tall, how they share what was sent. */
function Bar({ context, tall }: { context: StepContext | null; tall?: boolean }) {
  const segments = context?.segments.filter(({ kind }) => !tall || kind !== "answer") ?? [];
  const room = Math.max(1, roomOf(segments));
  return (
    <span
      aria-hidden
      className={clsx("flex gap-px overflow-hidden rounded-badge bg-sunken", tall ? "h-4" : "h-2")}
    >
      {segments.map(({ kind, ref, tokens }, place) => (
        <span
          // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a prompt stay where they are
          key={place}
          title={ref}
          className={clsx(FILLS[kind], kind !== "answer" && tokens > 0 && "min-w-0.5")}
          style={{ width: `${(tokens / room) * 100}%` }}
        />
      ))}
    </span>
  );
}

type PromptProps = { runId: string; step: number; before: number | undefined };

function Prompt({ runId, step, before }: PromptProps) {
  const { t, format } = useWords();
  const { data, error, refetch } = useQuery(contextQuery(runId, step));
  const { data: last } = useQuery({
    ...contextQuery(runId, before ?? 0),
    enabled: before !== undefined,
  });
  const [opened, setOpened] = useState<number | null>(null);
  if (error) return <Failure error={error} onRetry={() => refetch()} />;
  if (data === undefined) return <LoadingRows rows={8} />;
  if (data === null) return <Empty title={t("context.gone")} />;
  return (
    <div className="grid gap-3">
      <div className="flex flex-wrap items-center gap-2">
        <h2 className="mr-auto text-section font-semibold">{t("span.step", { n: step })}</h2>
        <Figure title={t("context.input.hint")}>
          {t("context.input", { n: format.number(data.input_tokens) })}
        </Figure>
        <Figure>{t("context.cached", { n: format.number(data.cached_tokens) })}</Figure>
        <Figure title={t("context.estimated.hint")}>
          {t("context.estimated", { n: format.number(data.estimated_tokens) })}
        </Figure>
      </div>
      <Bar context={data} tall />
      <ul className="grid">
        {data.segments.map((segment, place) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a prompt stay where they are
          <li key={place} className="border-b border-line last:border-b-0">
            <Part
              segment={segment}
              more={last ? moreThan(segment, last) : null}
              isOpen={place === opened}
              onToggle={() => setOpened(place === opened ? null : place)}
            />
            {place === opened && (
              <SegmentWords runId={runId} step={step} before={before} segment={segment} />
            )}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** How many tokens more than the same part had in the call before; all of them where it is new. */
function moreThan(segment: ContextSegment, last: StepContext): number {
  const isSame = (other: ContextSegment) =>
    other.kind === segment.kind && (segment.kind !== "memory" || other.ref === segment.ref);
  return segment.tokens - (last.segments.find(isSame)?.tokens ?? 0);
}

type PartProps = {
  segment: ContextSegment;
  more: number | null;
  isOpen: boolean;
  onToggle: () => void;
};

function Part({ segment, more, isOpen, onToggle }: PartProps) {
  const { t, format } = useWords();
  const { kind, tokens, ref, score } = segment;
  return (
    <button
      type="button"
      aria-expanded={isOpen}
      disabled={kind === "answer"}
      onClick={onToggle}
      className="grid min-h-10 w-full grid-cols-[12px_minmax(120px,180px)_minmax(0,1fr)_72px_84px] items-center gap-3 px-1 text-left text-sm hover:bg-hover disabled:cursor-default disabled:hover:bg-transparent"
    >
      <span aria-hidden className={clsx("size-2.5 rounded-[3px]", FILLS[kind])} />
      <span>{t(`segment.${kind}`)}</span>
      <span className="truncate font-mono text-meta text-muted">{ref}</span>
      <span className="text-right text-meta text-muted tabular">
        {score != null ? score.toFixed(2) : ""}
        {more ? <span className={clsx(more > 0 && "text-warn")}> {signed(more)}</span> : null}
      </span>
      <span className="text-right tabular">{format.number(tokens)}</span>
    </button>
  );
}

const signed = (count: number) => (count > 0 ? `+${count}` : `−${-count}`);

function SegmentWords(props: PromptProps & { segment: ContextSegment }) {
  const { runId, step, before, segment } = props;
  const { t } = useWords();
  const [isNewOnly, setNewOnly] = useState(false);
  const { data, error } = useQuery(contextQuery(runId, step, true));
  const { data: last } = useQuery({
    ...contextQuery(runId, before ?? 0, true),
    enabled: before !== undefined && isNewOnly,
  });
  if (error) return <Failure error={error} />;
  if (!data?.text) return <LoadingRows rows={2} />;
  const words = wordsOf(segment, data.text);
  return (
    <div className="grid gap-2 pb-4">
      <div className="flex items-center gap-3 text-sm">
        {segment.kind === "memory" && (
          <Link
            to="/memory/$id"
            params={{ id: segment.ref }}
            className="text-accent hover:underline"
          >
            {t("context.memory")}
          </Link>
        )}
        {words.kind === "messages" && before !== undefined && (
          <label className="flex items-center gap-1.5 text-muted">
            <input
              type="checkbox"
              checked={isNewOnly}
              onChange={(event) => setNewOnly(event.target.checked)}
            />
            {t("context.new")}
          </label>
        )}
      </div>
      {words.kind === "none" && <p className="text-sm text-muted">{t("context.unkept")}</p>}
      {words.kind === "json" && <JsonView value={words.value} label={t("segment.tools")} />}
      {words.kind === "text" && <JsonView value={words.text} label={t("segment.system")} />}
      {words.kind === "messages" &&
        (isNewOnly ? newIn(words.messages, last?.text) : words.messages).map((message, place) => (
          <JsonView
            // biome-ignore lint/suspicious/noArrayIndexKey: messages stay where they are
            key={place}
            label={message.role}
            value={message.tool_calls?.length ? message : message.content}
          />
        ))}
    </div>
  );
}
