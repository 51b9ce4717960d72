// The time that the lanes of the trace show. Pure.

import type { Row } from "../rows";
import type { Span } from "../spans";

export type Axis = { from: number; to: number };

/** Fits the rows from `first` to `last`; what is around them all, the run, does not count. */
export function axisOf(rows: readonly Row[], first: number, last: number, now: number): Axis {
  let from = Number.POSITIVE_INFINITY;
  let to = Number.NEGATIVE_INFINITY;
  for (let index = first; index <= last; index += 1) {
    const span = rows[index]?.span;
    if (!span || (span.kind === "run" && rows.length > 1)) continue;
    from = Math.min(from, span.start);
    to = Math.max(to, span.end ?? now);
  }
  if (from > to) return { from: 0, to: 1 };
  return { from, to: Math.max(to, from + 1) };
}

/** Where a span lies on the axis, in per cent; null where it does not. */
export function placeOf({ from, to }: Axis, start: number, end: number) {
  if (end < from || start > to) return null;
  const percent = (at: number) => ((Math.min(to, Math.max(from, at)) - from) / (to - from)) * 100;
  return { left: percent(start), width: percent(end) - percent(start) };
}

/** All of a run. */
export function wholeOf(spans: readonly Span[], now: number): Axis {
  const from = spans[0]?.start ?? 0;
  let to = from + 1;
  for (const span of spans) to = Math.max(to, span.end ?? now);
  return { from, to };
}
