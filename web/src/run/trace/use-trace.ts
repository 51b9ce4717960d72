// The state of the trace: its rows as they are filtered and folded, and the chosen one. What can be
// shared stands in the address: choosing a span replaces it, so that going back leaves the run.

import { useNavigate, useSearch } from "@tanstack/react-router";
import { type RefObject, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { SpanKind } from "~/api/types";
import { useWords } from "~/i18n";
import { costliest, nextError, type Row, rowsOf, slowest } from "../rows";
import { spanName } from "../span-name";
import type { Spans } from "../spans";
import type { RunView } from "../use-run-log";
import type { FixedRowsHandle } from "./fixed-rows";

export type TraceState = ReturnType<typeof useTrace>;

export function useTrace(view: RunView<Spans>, list: RefObject<FixedRowsHandle | null>) {
  const search = useSearch({ from: "/shell/runs/$id" });
  const navigate = useNavigate({ from: "/runs/$id" });
  const { t } = useWords();
  const { log: spans, version } = view;
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const [query, setQuery] = useState(search.q ?? "");
  const kinds = useMemo(() => new Set(search.kind ?? []), [search.kind]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: spans grow in place, with the version
  const rows = useMemo(
    () => rowsOf(spans.all, { collapsed, query, kinds, nameOf: (span) => spanName(t, span) }),
    [spans, version, collapsed, query, kinds, t],
  );
  const selected = rows.findIndex(({ span }) => span.id === search.span);

  const say = useCallback(
    (changes: Partial<typeof search>) =>
      void navigate({ search: (said) => ({ ...said, ...changes }), replace: true }),
    [navigate],
  );
  const select = (index: number, where: "near" | "middle" = "near") => {
    const row = rows[index];
    if (!row) return;
    list.current?.show(index, where);
    say({ span: row.span.id });
  };

  // A link to a span shows it once it is there.
  const linked = useRef(search.span);
  useEffect(() => {
    if (!linked.current || selected < 0) return;
    linked.current = undefined;
    list.current?.show(selected, "middle");
  }, [selected, list]);

  return {
    spans,
    rows,
    selected,
    span: search.span ? spans.get(search.span) : undefined,
    query,
    kinds,
    isWhole: search.axis === "run",
    select,
    close() {
      say({ span: undefined });
      list.current?.focus();
    },
    filter(next: string) {
      setQuery(next);
      say({ q: next || undefined });
    },
    show: (next: SpanKind[]) => say({ kind: next.length > 0 ? next : undefined }),
    setWhole: (isWhole: boolean) => say({ axis: isWhole ? "run" : undefined }),
    fold(row: Row, isOpen: boolean) {
      const next = new Set(collapsed);
      if (isOpen) next.delete(row.span.id);
      else next.add(row.span.id);
      setCollapsed(next);
    },
    foldAll(isOpen: boolean) {
      const steps = spans.all.filter(({ kind }) => kind === "step");
      setCollapsed(new Set(isOpen ? [] : steps.map(({ id }) => id)));
    },
    jump: {
      error: (step: 1 | -1 = 1) => select(nextError(rows, selected, step), "middle"),
      slowest: () => select(slowest(rows), "middle"),
      costliest: () => select(costliest(rows), "middle"),
    },
  };
}
