// What two runs took, and how much more or less that is.

import { useWords } from "~/i18n";
import type { Format } from "~/i18n/format";
import { Cell, Head, Row, Table } from "~/ui/table";
import type { Took } from "./steps";

const NAMES = {
  steps: "steps",
  calls: "tool_calls",
  inputTokens: "usage.input",
  cachedTokens: "usage.cached",
  outputTokens: "usage.output",
  costUsd: "cost",
  ms: "duration",
} as const;

type Figure = keyof typeof NAMES;

export function Figures({ left, right, label }: { left: Took; right: Took; label: string }) {
  const { t, format } = useWords();
  return (
    <div className="max-w-[720px]">
      <Table label={label}>
        <Head
          columns={[
            { name: label },
            { name: t("compare.left"), align: "right" },
            { name: t("compare.right"), align: "right" },
            { name: t("compare.difference"), align: "right" },
          ]}
        />
        <tbody>
          {(Object.keys(NAMES) as Figure[]).map((figure) => (
            <Row key={figure} dense>
              <th scope="row" className="px-3 pl-4 text-left font-normal">
                {t(NAMES[figure])}
              </th>
              <Cell align="right">{say(format, figure, left[figure])}</Cell>
              <Cell align="right">{say(format, figure, right[figure])}</Cell>
              <Cell align="right" quiet>
                {signed(format, figure, right[figure] - left[figure])}
              </Cell>
            </Row>
          ))}
        </tbody>
      </Table>
    </div>
  );
}

function say(format: Format, figure: Figure, value: number): string {
  if (figure === "costUsd") return format.cost(value);
  if (figure === "ms") return format.duration(value);
  return format.number(value);
}

function signed(format: Format, figure: Figure, more: number): string {
  if (more === 0) return "=";
  return `${more > 0 ? "+" : "−"}${say(format, figure, Math.abs(more))}`;
}
