// What was used, in figures: by name over all of the time, and of each hour or day.

import { useState } from "react";
import type { UsageRow } from "~/api/types";
import { useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { Cell, Head, Row, Table } from "~/ui/table";
import type { Per } from "./period";
import { cachedShare, sumOf } from "./sums";

type NameProps = { name: string; groups: [name: string, rows: UsageRow[]][] };

export function TableByName({ name: column, groups }: NameProps) {
  const { t, format } = useWords();
  return (
    <Table label={column}>
      <Head
        columns={[
          { name: column },
          { name: t("runs"), align: "right" },
          { name: t("usage.failed"), align: "right" },
          { name: t("usage.input"), align: "right" },
          { name: t("usage.cached"), align: "right" },
          { name: t("usage.output"), align: "right" },
          { name: t("cost"), align: "right" },
        ]}
      />
      <tbody>
        {groups.map(([name, rows]) => {
          const sum = sumOf(rows);
          const share = cachedShare(sum);
          return (
            <Row key={name}>
              <Cell className="max-w-[280px] truncate font-mono text-meta">{name}</Cell>
              <Cell align="right">{format.number(sum.runs)}</Cell>
              <Cell align="right" className={sum.failed > 0 ? "text-err" : ""}>
                {format.number(sum.failed)}
              </Cell>
              <Cell align="right">{format.number(sum.inputTokens)}</Cell>
              <Cell align="right">{share === null ? "–" : format.share(share)}</Cell>
              <Cell align="right">{format.number(sum.outputTokens)}</Cell>
              <Cell align="right">{format.cost(sum.costUsd)}</Cell>
            </Row>
          );
        })}
      </tbody>
    </Table>
  );
}

/** Rows that are shown until all are wanted. */
const ROWS_SHOWN = 60;

type TimeProps = {
  name: string;
  per: Per;
  rows: UsageRow[];
  nameOf: (row: UsageRow) => string;
};

export function TableByTime({ name, per, rows, nameOf }: TimeProps) {
  const { t, format } = useWords();
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole ? rows : rows.slice(0, ROWS_SHOWN);
  const label = t(per === "hour" ? "usage.hour" : "usage.day");
  const latency = (ms: number | null | undefined) => (ms == null ? "–" : format.duration(ms));
  return (
    <div className="grid gap-2">
      <Table label={label}>
        <Head
          columns={[
            { name: label },
            { name },
            { name: t("runs"), align: "right" },
            { name: t("usage.input"), align: "right" },
            { name: t("usage.cached"), align: "right" },
            { name: t("usage.output"), align: "right" },
            { name: t("cost"), align: "right" },
            { name: t("usage.p50"), align: "right" },
            { name: t("usage.p95"), align: "right" },
          ]}
        />
        <tbody>
          {shown.map((row) => (
            <Row key={`${row.at} ${row.name}`} dense>
              <Cell className="whitespace-nowrap tabular">
                {row.at.slice(0, per === "hour" ? 16 : 10).replace("T", " ")}
              </Cell>
              <Cell className="max-w-[240px] truncate font-mono text-meta">{nameOf(row)}</Cell>
              <Cell align="right">{format.number(row.runs)}</Cell>
              <Cell align="right">{format.number(row.input_tokens)}</Cell>
              <Cell align="right">
                {row.cached_share == null ? "–" : format.share(row.cached_share)}
              </Cell>
              <Cell align="right">{format.number(row.output_tokens)}</Cell>
              <Cell align="right">{format.cost(row.cost_usd)}</Cell>
              <Cell align="right">{latency(row.duration_p50_ms)}</Cell>
              <Cell align="right">{latency(row.duration_p95_ms)}</Cell>
            </Row>
          ))}
        </tbody>
      </Table>
      {shown.length < rows.length && (
        <Button className="mx-auto" onClick={() => setWhole(true)}>
          {t("json.more", { n: rows.length - shown.length })}
        </Button>
      )}
    </div>
  );
}
