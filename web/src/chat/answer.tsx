// The parts of an answer, in order.

import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Brain, ChevronRight, CircleAlert, TriangleAlert, Wrench } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import type { Hit } from "~/api/types";
import { patient } from "~/app/patient";
import { useWords } from "~/i18n";
import { warningName } from "~/run/warnings";
import { Button } from "~/ui/button";
import { JsonView } from "~/ui/json-view";
import { Elapsed } from "~/ui/time";
import type { Part, ToolUse } from "./parts";

const Markdown = lazy(() => patient(() => import("./markdown")));

export function Answer({ parts }: { parts: Part[] }) {
  return (
    <div className="grid gap-2.5">
      {grouped(parts).map((group) => {
        const first = group[0]!;
        if (first.kind === "text") return <Said key={`text-${first.id}`} part={first} />;
        if (first.kind === "compacted")
          return <Compacted key={`compacted-${first.id}`} part={first} />;
        if (first.kind === "note") return <Note key={`note-${first.id}`} part={first} />;
        return <Deeds key={`deeds-${first.id}`} parts={group as Deed[]} />;
      })}
    </div>
  );
}

type Deed = Extract<Part, { kind: "recall" | "tool" }>;

const isDeed = (part: Part | undefined) => part?.kind === "recall" || part?.kind === "tool";

/** What was done in a row stands in one line; every text and every note by itself. */
function grouped(parts: Part[]): Part[][] {
  const groups: Part[][] = [];
  for (const part of parts) {
    const last = groups.at(-1);
    if (last && isDeed(last[0]) && isDeed(part)) last.push(part);
    else groups.push([part]);
  }
  return groups;
}

function Said({ part }: { part: Extract<Part, { kind: "text" }> }) {
  return (
    <Suspense fallback={<p className="whitespace-pre-wrap">{part.text}</p>}>
      <Markdown text={part.text} isDraft={part.isDraft} />
    </Suspense>
  );
}

function Compacted({ part }: { part: Extract<Part, { kind: "compacted" }> }) {
  const { t } = useWords();
  return <p className="text-sm text-muted">{t("chat.compacted", { step: part.step })}</p>;
}

function Note({ part }: { part: Extract<Part, { kind: "note" }> }) {
  const { t } = useWords();
  return (
    <p className="flex items-baseline gap-2 text-sm">
      <TriangleAlert size={14} aria-hidden className="shrink-0 translate-y-0.5 text-warn" />
      <span className="wrap-any">
        <span className="text-warn">{warningName(t, part.code)}</span>{" "}
        <span className="text-meta text-muted">{part.message}</span>
      </span>
    </p>
  );
}

/** Of more than so many deeds in a row the last are shown, until all are wanted. */
const DEEDS_MAX = 8;
const DEEDS_SHOWN = 5;

/** Chips, and below them what the open one was about. */
function Deeds({ parts }: { parts: Deed[] }) {
  const { t } = useWords();
  const [open, setOpen] = useState<string | null>(null);
  const [isWhole, setWhole] = useState(false);
  const opened = parts.find(({ id }) => id === open);
  const shown = isWhole || parts.length <= DEEDS_MAX ? parts : parts.slice(-DEEDS_SHOWN);
  return (
    <div className="grid gap-2">
      <div className="flex flex-wrap gap-1.5">
        {shown.length < parts.length && (
          <Button look="ghost" className="h-7 px-2 text-meta" onClick={() => setWhole(true)}>
            {t("chat.before", { n: parts.length - shown.length })}
          </Button>
        )}
        {shown.map((part) => (
          <Chip
            key={part.id}
            deed={part}
            isOpen={part.id === open}
            onToggle={() => setOpen(part.id === open ? null : part.id)}
          />
        ))}
      </div>
      {opened?.kind === "recall" && <Recalled hits={opened.hits} />}
      {opened?.kind === "tool" && <Used use={opened} />}
    </div>
  );
}

type ChipProps = { deed: Deed; isOpen: boolean; onToggle: () => void };

function Chip({ deed, isOpen, onToggle }: ChipProps) {
  const { t, format } = useWords();
  const isRecall = deed.kind === "recall";
  const isError = !isRecall && deed.result?.isError;
  const Icon = isRecall ? Brain : isError ? CircleAlert : Wrench;
  const ms = isRecall ? deed.ms : deed.result?.ms;
  return (
    <button
      type="button"
      aria-expanded={isOpen}
      onClick={onToggle}
      className={clsx(
        "inline-flex h-7 max-w-full items-center gap-1.5 rounded-control border border-line bg-panel px-2 text-meta hover:bg-hover aria-expanded:border-control",
        isError ? "text-err" : "text-muted",
      )}
    >
      <Icon size={13} aria-hidden className={clsx(ms === undefined && "animate-breathe")} />
      {isRecall ? (
        t("chat.recalled", { n: deed.hits.length })
      ) : (
        <code className="truncate font-mono">{deed.name}</code>
      )}
      <span aria-hidden>·</span>
      {ms !== undefined ? (
        <span className="tabular">{format.duration(ms)}</span>
      ) : (
        <Elapsed since={(deed as ToolUse).startedAt} />
      )}
      <ChevronRight size={12} aria-hidden className={clsx(isOpen && "rotate-90")} />
    </button>
  );
}

function Used({ use: { args, result } }: { use: ToolUse }) {
  const { t } = useWords();
  return (
    <div className="grid gap-1.5">
      <JsonView value={args} label={t("inspector.input")} />
      {result && <JsonView value={result.value} label={t("inspector.output")} />}
      {result?.isCut && <p className="text-sm text-warn">{t("tool.cut")}</p>}
    </div>
  );
}

function Recalled({ hits }: { hits: Hit[] }) {
  const { t } = useWords();
  return (
    <ul className="rounded-control border border-line bg-panel">
      {hits.map((hit) => (
        <li key={hit.id} className="border-b border-line last:border-b-0">
          <Link
            to="/memory/$id"
            params={{ id: hit.id }}
            className="flex items-baseline gap-3 px-3 py-1.5 text-sm hover:bg-hover"
          >
            <span className="w-14 shrink-0 text-meta text-muted">{t(`layer.${hit.type}`)}</span>
            <span className="min-w-0 grow wrap-any">{hit.snippet}</span>
            <span className="text-meta text-muted tabular">{hit.score.toFixed(2)}</span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
