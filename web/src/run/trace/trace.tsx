// The trace of a run: toolbar, minimap, rows, inspector.

import { useEffect, useMemo, useRef, useState } from "react";
import { useWords } from "~/i18n";
import { usePreferences } from "~/preferences";
import { copyText } from "~/ui/copy";
import { Empty, LoadingRows } from "~/ui/states";
import { toast } from "~/ui/toasts";
import { spanName } from "../span-name";
import type { Spans } from "../spans";
import type { RunView } from "../use-run-log";
import { type Axis, axisOf, wholeOf } from "./axis";
import { FixedRows, type FixedRowsHandle } from "./fixed-rows";
import { SpanSprite } from "./icons";
import { Inspector } from "./inspector";
import { useTraceKeys } from "./keys";
import { Minimap } from "./minimap";
import { Toolbar } from "./toolbar";
import { rowId, TraceRow } from "./trace-row";
import { useNow, useSight } from "./use-sight";
import { type TraceState, useTrace } from "./use-trace";

const ROW_HEIGHT = { compact: 28, comfortable: 32 };

type Props = { view: RunView<Spans>; runId: string };

export function Trace({ view, runId }: Props) {
  const { t } = useWords();
  const list = useRef<FixedRowsHandle>(null);
  const trace = useTrace(view, list);
  const { spans, rows, selected } = trace;
  const now = useNow(!spans.hasEnded);
  const [sight, setSight] = useSight();
  const [isFollowing, setFollowing] = useState(false);
  useEffect(() => {
    if (isFollowing) list.current?.show(rows.length - 1);
  }, [isFollowing, rows.length]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: spans grow in place, with the version
  const whole = useMemo(() => wholeOf(spans.all, now), [spans, view.version, now]);
  const fitted = useMemo(
    () => axisOf(rows, sight.first, sight.last, now),
    [rows, sight.first, sight.last, now],
  );
  const axis = trace.isWhole ? whole : fitted;

  useTraceKeys(trace, {
    pageSize: () => list.current?.pageSize() ?? 1,
    toggleFollow: () => setFollowing(!isFollowing),
    copyLink: () => void copyText(location.href).then(() => toast(t("copied"))),
  });

  return (
    <div className="flex h-full min-h-0">
      <SpanSprite />
      <div className="flex min-w-0 grow flex-col">
        <Toolbar trace={trace} />
        <Minimap
          spans={spans.all}
          version={view.version}
          whole={whole}
          sight={fitted}
          now={now}
          onPick={(at) => {
            const index = rows.findIndex(
              ({ span }) => span.kind !== "run" && span.kind !== "step" && (span.end ?? now) >= at,
            );
            if (index >= 0) list.current?.show(index, "middle");
          }}
        />
        <Columns axis={axis} origin={whole.from} />
        {rows.length === 0 ? (
          <Nothing isLoading={view.isLoading} isFiltered={spans.all.length > 0} />
        ) : (
          <Rows trace={trace} handle={list} axis={axis} now={now} onRange={setSight} />
        )}
        <p className="sr-only" role="status">
          {selected >= 0 ? spanName(t, rows[selected]!.span) : ""}
        </p>
      </div>
      <Side trace={trace} runId={runId} />
    </div>
  );
}

type RowsProps = {
  trace: TraceState;
  handle: React.RefObject<FixedRowsHandle | null>;
  axis: Axis;
  now: number;
  onRange: (first: number, last: number) => void;
};

function Rows({ trace, handle, axis, now, onRange }: RowsProps) {
  const { t } = useWords();
  const { rows, selected } = trace;
  const height = ROW_HEIGHT[usePreferences().density];
  const onClick = (event: React.MouseEvent) => {
    const target = event.target as HTMLElement;
    const index = Number(target.closest<HTMLElement>("[data-index]")?.dataset.index);
    const row = rows[index];
    if (!row) return;
    if (target.closest("[data-toggle]")) trace.fold(row, !row.isOpen);
    else trace.select(index);
  };
  return (
    <FixedRows
      handle={handle}
      count={rows.length}
      height={height}
      onRange={onRange}
      role="treegrid"
      aria-label={t("trace")}
      aria-rowcount={rows.length}
      aria-colcount={4}
      aria-activedescendant={selected >= 0 ? rowId(rows[selected]!.span.id) : undefined}
      tabIndex={0}
      onClick={onClick}
      renderRow={(index, transform) => (
        <TraceRow
          row={rows[index]!}
          index={index}
          isSelected={index === selected}
          axis={axis}
          now={rows[index]!.span.end === null ? now : 0}
          height={height}
          transform={transform}
        />
      )}
    />
  );
}

function Nothing({ isLoading, isFiltered }: { isLoading: boolean; isFiltered: boolean }) {
  const { t } = useWords();
  if (isLoading) {
    return (
      <div className="px-4">
        <LoadingRows rows={12} height={ROW_HEIGHT.compact} />
      </div>
    );
  }
  return <Empty title={isFiltered ? t("trace.none") : t("trace.empty")} />;
}

/** The inspector: at the side, or at the foot of a narrow window where something is chosen. */
function Side({ trace, runId }: { trace: TraceState; runId: string }) {
  const inspector = <Inspector runId={runId} span={trace.span} onClose={trace.close} />;
  return (
    <>
      <div className="w-[400px] shrink-0 border-l border-line bg-panel max-lg:hidden">
        {inspector}
      </div>
      {trace.span && (
        <div className="fixed inset-x-0 bottom-0 z-30 h-[55vh] border-t border-line bg-panel shadow-float lg:hidden">
          {inspector}
        </div>
      )}
    </>
  );
}

/** What the columns are, and the time that the lanes show, from the start of the run. */
function Columns({ axis, origin }: { axis: Axis; origin: number }) {
  const { t, format } = useWords();
  const tick = (part: number) => {
    const at = axis.from + (axis.to - axis.from) * part - origin;
    return format.duration(Math.max(0, at));
  };
  return (
    <div
      aria-hidden
      className="grid h-7 grid-cols-[var(--name-width)_84px_116px_minmax(120px,1fr)] items-center border-y border-l-2 border-line border-l-transparent bg-panel text-meta text-muted"
    >
      <span className="pl-3.5">{t("trace.span")}</span>
      <span className="text-right">{t("duration")}</span>
      <span className="text-right">{t("trace.tokens")}</span>
      <span className="mr-4 ml-3 flex justify-between gap-2 overflow-hidden whitespace-nowrap tabular">
        <span>{tick(0)}</span>
        <span>{tick(0.5)}</span>
        <span>{tick(1)}</span>
      </span>
    </div>
  );
}
