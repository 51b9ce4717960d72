// From spans to the rows that are shown: the tree opened and closed, filtered, and what the jump keys
// look for. Pure.

import type { SpanKind } from "~/api/types";
import type { Span } from "./spans";

export type Row = { span: Span; depth: number; hasChildren: boolean; isOpen: boolean };

export type View = {
  collapsed: ReadonlySet<string>;
  /** Part of a name, in any case. */
  query: string;
  nameOf: (span: Span) => string;
  /** Kinds that are shown; all where it is empty. */
  kinds: ReadonlySet<SpanKind>;
};

/** Rows in the order of the tree. A filter shows what it finds, with everything above it. */
export function rowsOf(spans: readonly Span[], view: View): Row[] {
  const children = new Map<string | null, Span[]>();
  for (const span of spans) {
    const siblings = children.get(span.parent);
    if (siblings) siblings.push(span);
    else children.set(span.parent, [span]);
  }
  const wanted = wantedBy(spans, view);
  const rows: Row[] = [];
  const visit = (span: Span, depth: number) => {
    if (wanted && !wanted.has(span)) return;
    const below = children.get(span.id) ?? [];
    const isOpen = wanted !== null || !view.collapsed.has(span.id);
    rows.push({ span, depth, hasChildren: below.length > 0, isOpen });
    if (isOpen) for (const child of below) visit(child, depth + 1);
  };
  for (const root of children.get(null) ?? []) visit(root, 0);
  return rows;
}

/** What a filter finds, and all above it; null where nothing is filtered. */
function wantedBy(spans: readonly Span[], { query, kinds, nameOf }: View) {
  const needle = query.trim().toLowerCase();
  if (needle === "" && kinds.size === 0) return null;
  const byId = new Map(spans.map((span) => [span.id, span]));
  const wanted = new Set<Span>();
  for (const span of spans) {
    if (kinds.size > 0 && !kinds.has(span.kind)) continue;
    if (needle && !nameOf(span).toLowerCase().includes(needle)) continue;
    for (let at: Span | undefined = span; at && !wanted.has(at); ) {
      wanted.add(at);
      at = at.parent === null ? undefined : byId.get(at.parent);
    }
  }
  return wanted;
}

/** The next row with an error after the place, around the end; -1 where there is none. */
export function nextError(rows: readonly Row[], from: number, step: 1 | -1): number {
  for (let n = 1; n <= rows.length; n += 1) {
    const at = (from + step * n + rows.length * 2) % rows.length;
    const span = rows[at]?.span;
    if (span?.isError && span.kind !== "run") return at;
  }
  return -1;
}

export const slowest = (rows: readonly Row[]) =>
  best(rows, ({ span }) => (isWork(span) && span.end !== null ? span.end - span.start : 0));

export const costliest = (rows: readonly Row[]) =>
  best(rows, ({ span }) => (isWork(span) ? (span.costUsd ?? 0) : 0));

const isWork = (span: Span) => span.kind !== "run" && span.kind !== "step";

/** The row with the largest figure above zero; -1 where there is none. */
function best(rows: readonly Row[], figure: (row: Row) => number): number {
  let found = -1;
  let most = 0;
  rows.forEach((row, at) => {
    const value = figure(row);
    if (value > most) {
      most = value;
      found = at;
    }
  });
  return found;
}
