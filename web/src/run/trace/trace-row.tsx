import { ChevronDown, ChevronRight } from "lucide-react";
import { memo } from "react";
import { useWords } from "~/i18n";
import type { Row } from "../rows";
import { spanName } from "../span-name";
import { type Axis, placeOf } from "./axis";
import { SpanIcon } from "./icons";

type Props = {
  row: Row;
  index: number;
  isSelected: boolean;
  axis: Axis;
  now: number;
  height: number;
  transform: string;
};

export const rowId = (spanId: string) => `span-row-${spanId}`;

/** One span: name, duration, tokens and cost, and its bar. */
export const TraceRow = memo(function TraceRow(props: Props) {
  const { row, index, isSelected, axis, now, height, transform } = props;
  const { t, format } = useWords();
  const { span, depth, hasChildren, isOpen } = row;
  const end = span.end ?? now;
  const place = placeOf(axis, span.start, end);
  return (
    <div
      role="row"
      id={rowId(span.id)}
      aria-rowindex={index + 1}
      aria-level={depth + 1}
      aria-expanded={hasChildren ? isOpen : undefined}
      aria-selected={isSelected}
      tabIndex={-1}
      data-index={index}
      data-kind={span.kind}
      data-error={span.isError ? "" : undefined}
      className="trace-row"
      style={{ height, transform }}
    >
      <div role="gridcell" className="trace-name" style={{ paddingLeft: depth * 16 + 4 }}>
        <span className="trace-toggle" data-toggle={hasChildren ? "" : undefined}>
          {hasChildren && (isOpen ? <ChevronDown size={14} /> : <ChevronRight size={14} />)}
        </span>
        <SpanIcon kind={span.kind} />
        <span>{spanName(t, span)}</span>
      </div>
      <div role="gridcell" className="trace-figure">
        {span.kind !== "note" && format.duration(end - span.start)}
      </div>
      <div role="gridcell" className="trace-figure">
        {span.tokens !== null && format.tokens(span.tokens)}
        {span.costUsd ? ` · ${format.cost(span.costUsd)}` : ""}
      </div>
      <div role="gridcell" className="trace-lane">
        {place && (
          <span
            className="trace-bar block"
            data-live={span.end === null ? "" : undefined}
            style={{ left: `min(${place.left}%, calc(100% - 3px))`, width: `${place.width}%` }}
          />
        )}
      </div>
    </div>
  );
});
