// One span, whole: what it was given, what it gave, and all that is known about it. What it took and
// gave is read when it is chosen, the beginning of it; the rest when it is wanted.

import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { spanQuery, wholePart } from "~/api/queries";
import type { Hit, SpanPart } from "~/api/types";
import { useWords } from "~/i18n";
import { bytes } from "~/i18n/format";
import { Badge, Figure } from "~/ui/badge";
import { Button, IconButton } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { JsonView } from "~/ui/json-view";
import { Facts } from "~/ui/page";
import { Failure, LoadingRows } from "~/ui/states";
import { Tabs } from "~/ui/tabs";
import { spanName } from "../span-name";
import type { Span } from "../spans";
import { SpanIcon } from "./icons";

type Props = { runId: string; span: Span | undefined; onClose: () => void };

export function Inspector({ runId, span, onClose }: Props) {
  const { t } = useWords();
  if (!span) {
    return (
      <aside aria-label={t("inspector")} className="grid h-full place-items-center p-6">
        <p className="text-center text-sm text-muted">{t("inspector.empty")}</p>
      </aside>
    );
  }
  return (
    <aside aria-label={t("inspector")} className="h-full overflow-y-auto p-4">
      <Head span={span} onClose={onClose} />
      <Payload key={span.id} runId={runId} span={span} />
    </aside>
  );
}

function Head({ span, onClose }: { span: Span; onClose: () => void }) {
  const { t, format } = useWords();
  return (
    <>
      <header className="flex items-start gap-2">
        <h2
          className="flex min-w-0 grow flex-wrap items-center gap-2 pt-1 font-semibold"
          data-kind={span.kind}
        >
          <span className="text-(--mark)">
            <SpanIcon kind={span.kind} />
          </span>
          <span className="min-w-0 wrap-any">{spanName(t, span)}</span>
          {span.end === null ? (
            <Badge tone="accent" dot="live">
              {t("status.running")}
            </Badge>
          ) : (
            span.isError && (
              <Badge tone="err" dot>
                {t("status.failed")}
              </Badge>
            )
          )}
        </h2>
        <CopyButton text={location.href} label={t("run.link")} />
        <IconButton label={t("close")} onClick={onClose} className="size-7">
          <X size={15} />
        </IconButton>
      </header>
      <div className="mt-1 mb-3 flex flex-wrap gap-1.5">
        {span.end !== null && span.kind !== "note" && (
          <Figure title={t("duration")}>{format.duration(span.end - span.start)}</Figure>
        )}
        {span.tokens !== null && (
          <Figure title={t("tokens")}>
            {t("tokens.short", { n: format.tokens(span.tokens) })}
          </Figure>
        )}
        {span.costUsd !== null && <Figure title={t("cost")}>{format.cost(span.costUsd)}</Figure>}
      </div>
    </>
  );
}

const SIDES = ["input", "output"] as const;

function Payload({ runId, span }: { runId: string; span: Span }) {
  const { t, format } = useWords();
  const { data, error, refetch } = useQuery({
    ...spanQuery(runId, span.id, span.lastSeq),
    // As it was, while what has come since is read.
    placeholderData: (before) => before,
  });
  if (error) return <Failure error={error} onRetry={() => refetch()} />;
  if (!data) return <LoadingRows rows={4} />;
  const tabs = SIDES.flatMap((side) => {
    const part = data[side];
    if (!part) return [];
    const name = t(`inspector.${side}`);
    const key = `${side}-${part.size}`;
    const content = <Part key={key} {...{ runId, spanId: span.id, side, part }} label={name} />;
    return [{ id: side, name, content }];
  });
  const said: Record<string, unknown> = data.facts;
  const facts: [string, unknown][] = [
    ...Object.entries(said).filter(([, value]) => value != null),
    ["span_id", span.id],
    ["events", data.events.map((seq) => `#${seq}`).join(" ")],
  ];
  const meta = {
    id: "meta",
    name: t("inspector.meta"),
    content: (
      <Facts
        rows={[
          [t("started"), format.exactTime(new Date(span.start).toISOString())],
          ...facts.map(([name, value]): [string, ReactNode] => [
            name,
            <code key={name} className="font-mono text-meta">
              {typeof value === "object" ? JSON.stringify(value) : String(value)}
            </code>,
          ]),
        ]}
      />
    ),
  };
  return (
    <>
      {span.kind === "memory" && <Hits part={data.output ?? null} />}
      {said.truncated === true && <p className="mb-3 text-sm text-warn">{t("tool.cut")}</p>}
      <Tabs key={tabs.length} label={t("inspector")} tabs={[...tabs, meta]} />
    </>
  );
}

type PartProps = {
  runId: string;
  spanId: string;
  side: (typeof SIDES)[number];
  part: SpanPart;
  label: string;
};

/** What a span took or gave; of what is long the beginning, which says so. */
function Part({ runId, spanId, side, part, label }: PartProps) {
  const { t } = useWords();
  const whole = useMutation({ mutationFn: () => wholePart(runId, spanId, side, part) });
  const text = part.truncated ? whole.data : part.text;
  if (text !== undefined) {
    return <JsonView value={part.is_json ? JSON.parse(text) : text} label={label} isWhole />;
  }
  return (
    <div className="grid gap-2">
      {whole.error && <Failure error={whole.error} onRetry={() => whole.mutate()} />}
      <Button
        className="justify-self-start"
        disabled={whole.isPending}
        onClick={() => whole.mutate()}
      >
        {t("json.cut", { shown: bytes(new Blob([part.text]).size), size: bytes(part.size) })}
      </Button>
      <JsonView value={part.text} label={label} />
    </div>
  );
}

/** The memories that a search found. */
function Hits({ part }: { part: SpanPart | null }) {
  if (!part || part.truncated) return null;
  const hits: Hit[] = JSON.parse(part.text);
  return (
    <ul className="mb-3 grid gap-1.5">
      {hits.map((hit) => (
        <li key={hit.id}>
          <Link
            to="/memory/$id"
            params={{ id: hit.id }}
            className="flex gap-2 rounded-control border border-line px-2.5 py-1.5 text-sm hover:bg-hover"
          >
            <span className="min-w-0 grow wrap-any">{hit.snippet}</span>
            <span className="text-meta text-muted tabular">{hit.score.toFixed(2)}</span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
