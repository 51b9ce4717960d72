// What keys do in the trace. Those that move are keys of a tree grid; single letters can be off.

import { useEffect, useRef } from "react";
import { isSingleKey } from "~/app/keys";
import type { TraceState } from "./use-trace";

type More = { pageSize: () => number; toggleFollow: () => void; copyLink: () => void };

/** Listens as long as nothing else on the page has the focus, or the rows have it. */
export function useTraceKeys(trace: TraceState, more: More): void {
  const act = useRef<(event: KeyboardEvent) => void>(() => {});
  act.current = (event) => {
    const target = event.target as HTMLElement;
    if (target !== document.body && !target.closest("[role=treegrid]")) return;
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const action = moveOf(event.key, trace, more.pageSize()) ?? letterOf(event, trace, more);
    if (!action) return;
    event.preventDefault();
    action();
  };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => act.current(event);
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function moveOf(key: string, trace: TraceState, page: number): (() => void) | undefined {
  const { rows, selected } = trace;
  const row = rows[selected];
  const to = (index: number) => () => trace.select(Math.min(rows.length - 1, Math.max(0, index)));
  switch (key) {
    case "ArrowDown":
      return to(selected + 1);
    case "ArrowUp":
      return to(selected - 1);
    case "PageDown":
      return to(selected + page);
    case "PageUp":
      return to(selected - page);
    case "Home":
      return to(0);
    case "End":
      return to(rows.length - 1);
    case "ArrowRight":
      if (!row) return undefined;
      return row.hasChildren && !row.isOpen ? () => trace.fold(row, true) : to(selected + 1);
    case "ArrowLeft": {
      if (!row) return undefined;
      if (row.hasChildren && row.isOpen) return () => trace.fold(row, false);
      const parent = rows.findIndex(({ span }) => span.id === row.span.parent);
      return parent < 0 ? undefined : to(parent);
    }
    case "Escape":
      return trace.span ? trace.close : undefined;
    default:
      return undefined;
  }
}

function letterOf(event: KeyboardEvent, trace: TraceState, more: More): (() => void) | undefined {
  if (!isSingleKey(event)) return undefined;
  const letters: Record<string, () => void> = {
    j: () => trace.select(Math.min(trace.rows.length - 1, trace.selected + 1)),
    k: () => trace.select(Math.max(0, trace.selected - 1)),
    e: () => trace.jump.error(1),
    E: () => trace.jump.error(-1),
    s: trace.jump.slowest,
    $: trace.jump.costliest,
    f: more.toggleFollow,
    y: more.copyLink,
  };
  return letters[event.key];
}
