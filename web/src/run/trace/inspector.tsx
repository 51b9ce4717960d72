// One span, whole: what it was given, what it gave, and all that is known about it.

import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import type { RunEvent } from "~/api/types";
import { useWords } from "~/i18n";
import { Badge, Figure } from "~/ui/badge";
import { IconButton } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { JsonView } from "~/ui/json-view";
import { Facts } from "~/ui/page";
import { Tabs } from "~/ui/tabs";
import { payloadOf, type Span } from "../spans";
import { SpanIcon } from "./icons";

type Props = { span: Span | undefined; events: RunEvent[]; onClose: () => void };

export function Inspector({ span, events, onClose }: Props) {
  const { t, format } = useWords();
  if (!span) {
    return (
      <aside aria-label={t("inspector")} className="grid h-full place-items-center p-6">
        <p className="text-center text-sm text-muted">{t("inspector.empty")}</p>
      </aside>
    );
  }
  const { input, output, isCut, facts } = payloadOf(span, events);
  const tabs = [
    { id: "input", name: t("inspector.input"), value: input },
    { id: "output", name: t("inspector.output"), value: output },
  ]
    .filter(({ value }) => value !== undefined)
    .map(({ id, name, value }) => ({ id, name, content: <JsonView value={value} label={name} /> }));
  const meta = {
    id: "meta",
    name: t("inspector.meta"),
    content: (
      <Facts
        rows={[
          [t("started"), format.exactTime(new Date(span.start).toISOString())],
          ...facts.map(([name, value]): [string, React.ReactNode] => [
            name,
            <code key={name} className="font-mono text-meta">
              {typeof value === "object" ? JSON.stringify(value) : String(value)}
            </code>,
          ]),
        ]}
      />
    ),
  };
  const memories = span.kind === "memory" && Array.isArray(output) ? output : [];
  return (
    <aside aria-label={t("inspector")} className="h-full overflow-y-auto p-4">
      <header className="flex items-start gap-2">
        <h2
          className="flex min-w-0 grow flex-wrap items-center gap-2 pt-1 font-semibold"
          data-kind={span.kind}
        >
          <span className="text-(--mark)">
            <SpanIcon kind={span.kind} />
          </span>
          <span className="min-w-0 wrap-any">{span.name}</span>
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
      {memories.length > 0 && (
        <ul className="mb-3 grid gap-1.5">
          {memories.map((hit) => (
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
      )}
      {isCut && <p className="mb-3 text-sm text-warn">{t("tool.cut")}</p>}
      <Tabs key={span.id + tabs.length} label={t("inspector")} tabs={[...tabs, meta]} />
    </aside>
  );
}
