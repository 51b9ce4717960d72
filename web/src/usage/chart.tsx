// Bars of thirty days, stacked by model. The table below has the same in figures.

import type { UsageRow } from "~/api/types";
import { useWords } from "~/i18n";
import { Card } from "~/ui/page";

const DAYS = 30;
const HEIGHT = 180;
const FILLS = ["fill-mark-llm", "fill-mark-tool", "fill-mark-memory", "fill-mark-note"];
const DOTS = ["bg-mark-llm", "bg-mark-tool", "bg-mark-memory", "bg-mark-note"];
/** Models beyond those that have a colour of their own. */
const REST = "fill-mark-step";

type Props = {
  label: string;
  days: UsageRow[];
  figureOf: (day: UsageRow) => number;
  say: (value: number) => string;
};

export function UsageChart({ label, days, figureOf, say }: Props) {
  const { format } = useWords();
  const models = [...new Set(days.map(({ name }) => name))];
  const bars = lastDays().map((day) => {
    const parts = days.filter((one) => one.at.startsWith(day));
    return { day, parts, sum: parts.reduce((all, one) => all + figureOf(one), 0) };
  });
  const most = Math.max(...bars.map(({ sum }) => sum)) || 1;
  return (
    <Card className="p-4">
      <div className="flex justify-between text-meta text-muted">
        <span>{label}</span>
        <span className="tabular">{say(most)}</span>
      </div>
      <svg
        role="img"
        aria-label={label}
        viewBox={`0 0 ${DAYS * 20} ${HEIGHT}`}
        preserveAspectRatio="none"
        className="mt-2 h-[180px] w-full border-b border-line"
      >
        {bars.map(({ day, parts, sum }, place) => {
          let top = HEIGHT - (sum / most) * HEIGHT;
          return (
            <g key={day}>
              <title>{`${format.day(day)}: ${say(sum)}`}</title>
              <rect x={place * 20} width={20} height={HEIGHT} className="fill-transparent" />
              {parts.map((part) => {
                const height = (figureOf(part) / most) * HEIGHT;
                const at = top;
                top += height;
                const fill = FILLS[models.indexOf(part.name)] ?? REST;
                return (
                  <rect
                    key={part.name}
                    x={place * 20 + 3}
                    y={at}
                    width={14}
                    height={height}
                    className={fill}
                  />
                );
              })}
            </g>
          );
        })}
      </svg>
      <div className="mt-1 flex justify-between text-meta text-muted">
        <span>{format.day(bars[0]!.day)}</span>
        <span>{format.day(bars.at(-1)!.day)}</span>
      </div>
      <ul className="mt-3 flex flex-wrap gap-x-4 gap-y-1 text-meta text-muted">
        {models.map((model, place) => (
          <li key={model} className="flex items-center gap-1.5">
            <span aria-hidden className={`size-2 rounded-[2px] ${DOTS[place] ?? "bg-mark-step"}`} />
            {model}
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** The last thirty days, UTC as the server counts them. */
function lastDays(): string[] {
  return Array.from({ length: DAYS }, (_, ago) => {
    const at = new Date();
    at.setUTCDate(at.getUTCDate() - (DAYS - 1 - ago));
    return at.toISOString().slice(0, 10);
  });
}
