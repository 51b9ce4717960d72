// Usage over time: bars, stacked by name, or a line for each where figures do not add up. The tables
// below it have the same in figures.

import type { UsageRow } from "~/api/types";
import { useWords } from "~/i18n";
import { Card } from "~/ui/page";
import type { Per } from "./period";

const HEIGHT = 180;
const SLOT = 20;
const FILLS = ["fill-mark-llm", "fill-mark-tool", "fill-mark-memory", "fill-mark-note"];
const STROKES = ["stroke-mark-llm", "stroke-mark-tool", "stroke-mark-memory", "stroke-mark-note"];
const DOTS = ["bg-mark-llm", "bg-mark-tool", "bg-mark-memory", "bg-mark-note"];

type Props = {
  label: string;
  /** The beginnings of the hours or days, the latest last. */
  slots: string[];
  per: Per;
  /** The rows of each name, in the order of the colours. */
  groups: [name: string, rows: UsageRow[]][];
  figureOf: (row: UsageRow) => number | null;
  say: (value: number) => string;
  shape: "bars" | "lines";
};

export function UsageChart({ label, slots, per, groups, figureOf, say, shape }: Props) {
  const { t, format } = useWords();
  const series = groups.map(([name, rows]) => {
    const at = new Map(rows.map((row) => [Date.parse(row.at), figureOf(row)]));
    return { name, values: slots.map((slot) => at.get(Date.parse(slot)) ?? null) };
  });
  const tops = slots.map((_, place) => {
    const values = series.map(({ values }) => values[place] ?? 0);
    return shape === "bars" ? values.reduce((all, one) => all + one, 0) : Math.max(0, ...values);
  });
  const most = Math.max(...tops);
  const scale = HEIGHT / (most || 1);
  const when = (slot: string) => (per === "hour" ? format.hour(slot) : format.day(slot));
  const words = t("usage.chart", {
    figure: label,
    most: say(most),
    when: when(slots[tops.indexOf(most)]!),
  });
  return (
    <Card className="p-4">
      <div className="flex justify-between text-meta text-muted">
        <span>{label}</span>
        <span className="tabular">{say(most)}</span>
      </div>
      <svg
        role="img"
        aria-label={words}
        viewBox={`0 0 ${slots.length * SLOT} ${HEIGHT}`}
        preserveAspectRatio="none"
        className="mt-2 h-[180px] w-full overflow-visible border-b border-line"
      >
        {shape === "bars"
          ? slots.map((slot, place) => (
              <Stack
                key={slot}
                place={place}
                scale={scale}
                values={series.map((one) => one.values)}
              />
            ))
          : series.map(({ name, values }, place) => (
              <Line key={name} values={values} scale={scale} look={STROKES[place]} />
            ))}
        {slots.map((slot, place) => (
          <rect
            key={slot}
            x={place * SLOT}
            width={SLOT}
            height={HEIGHT}
            className="fill-transparent hover:fill-(--shade)"
          >
            <title>{`${when(slot)}: ${say(tops[place]!)}`}</title>
          </rect>
        ))}
      </svg>
      <div className="mt-1 flex justify-between text-meta text-muted">
        <span>{when(slots[0]!)}</span>
        <span>{when(slots.at(-1)!)}</span>
      </div>
      <ul className="mt-3 flex flex-wrap gap-x-4 gap-y-1 text-meta text-muted">
        {series.map(({ name }, place) => (
          <li key={name} className="flex min-w-0 items-center gap-1.5">
            <span
              aria-hidden
              className={`size-2 shrink-0 rounded-[2px] ${DOTS[place] ?? "bg-mark-step"}`}
            />
            <span className="truncate">{name}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

type StackProps = { place: number; scale: number; values: (number | null)[][] };

function Stack({ place, scale, values }: StackProps) {
  let top = HEIGHT;
  return values.map((of, name) => {
    const height = (of[place] ?? 0) * scale;
    top -= height;
    if (height === 0) return null;
    return (
      <rect
        // biome-ignore lint/suspicious/noArrayIndexKey: names keep their places
        key={name}
        x={place * SLOT + 3}
        y={top}
        width={SLOT - 6}
        height={height}
        className={FILLS[name] ?? "fill-mark-step"}
      />
    );
  });
}

type LineProps = { values: (number | null)[]; scale: number; look: string | undefined };

/** Through the slots that have a figure; one by itself is a short dash. */
function Line({ values, scale, look = "stroke-mark-step" }: LineProps) {
  let path = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const [x, y] = [place * SLOT, HEIGHT - value * scale];
    const isAlone = values[place - 1] == null;
    path += isAlone ? `M${x + 4} ${y}H${x + SLOT - 4}` : `L${x + SLOT / 2} ${y}`;
  });
  return (
    <path
      d={path}
      fill="none"
      strokeWidth="2"
      strokeLinejoin="round"
      strokeLinecap="round"
      vectorEffect="non-scaling-stroke"
      className={look}
    />
  );
}
