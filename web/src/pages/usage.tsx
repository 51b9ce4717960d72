// What the scope used: by day and by model.

import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { usageQuery } from "~/api/queries";
import type { UsageRow } from "~/api/types";
import { useWords } from "~/i18n";
import type { Format } from "~/i18n/format";
import { USAGE_FIGURES } from "~/router";
import { Card, Page } from "~/ui/page";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { Cell, Head, Row, Table } from "~/ui/table";
import { Segments } from "~/ui/tabs";
import { useTitle } from "~/ui/title";
import { UsageChart } from "~/usage/chart";

type Figure = (typeof USAGE_FIGURES)[number];

const VALUE: Record<Figure, (day: UsageRow) => number> = {
  cost: (day) => day.cost_usd,
  tokens: (day) => day.input_tokens + day.output_tokens,
  runs: (day) => day.runs,
};

const SAID: Record<Figure, (format: Format, value: number) => string> = {
  cost: (format, value) => format.cost(value),
  tokens: (format, value) => format.tokens(value),
  runs: (format, value) => format.number(value),
};

export function UsagePage() {
  const { t, format } = useWords();
  useTitle(t("nav.usage"));
  const { figure = "tokens" } = useSearch({ from: "/shell/usage" });
  const navigate = useNavigate({ from: "/usage" });
  const { data, error, refetch } = useQuery(usageQuery);
  const days = data?.rows ?? [];
  const sum = (of: Figure) => days.reduce((all, day) => all + VALUE[of](day), 0);
  return (
    <Page
      title={t("nav.usage")}
      actions={
        <Segments
          label={t("usage.figure")}
          value={figure}
          options={USAGE_FIGURES.map((one) => ({ value: one, name: t(`usage.${one}`) }))}
          onChange={(next) => void navigate({ search: { figure: next }, replace: true })}
        />
      }
    >
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {!data && !error && <LoadingRows rows={6} />}
      {data && days.length === 0 && (
        <Empty title={t("usage.empty")}>
          <CommandLine>{'openintern run "hello" --stream'}</CommandLine>
        </Empty>
      )}
      {days.length > 0 && (
        <div className="grid gap-6">
          <div className="grid grid-cols-3 gap-3">
            {USAGE_FIGURES.map((one) => (
              <Card key={one} className="p-4">
                <p className="text-sm text-muted">{t(`usage.${one}`)}</p>
                <p className="text-figure font-semibold tabular">{SAID[one](format, sum(one))}</p>
                <p className="text-meta text-faint">{t("usage.period")}</p>
              </Card>
            ))}
          </div>
          <UsageChart
            label={t(`usage.${figure}`)}
            days={days}
            figureOf={VALUE[figure]}
            say={(value) => SAID[figure](format, value)}
          />
          <UsageTable days={days} />
        </div>
      )}
    </Page>
  );
}

function UsageTable({ days }: { days: UsageRow[] }) {
  const { t, format } = useWords();
  return (
    <Table label={t("nav.usage")}>
      <Head
        columns={[
          { name: t("usage.day") },
          { name: t("model") },
          { name: t("runs"), align: "right" },
          { name: t("usage.input"), align: "right" },
          { name: t("usage.cached"), align: "right" },
          { name: t("usage.output"), align: "right" },
          { name: t("cost"), align: "right" },
        ]}
      />
      <tbody>
        {days.map((day) => (
          <Row key={day.at + day.name}>
            <Cell className="whitespace-nowrap tabular">{day.at.slice(0, 10)}</Cell>
            <Cell className="font-mono text-meta">{day.name}</Cell>
            <Cell align="right">{format.number(day.runs)}</Cell>
            <Cell align="right">{format.number(day.input_tokens)}</Cell>
            <Cell align="right">{format.number(day.cached_tokens)}</Cell>
            <Cell align="right">{format.number(day.output_tokens)}</Cell>
            <Cell align="right">{format.cost(day.cost_usd)}</Cell>
          </Row>
        ))}
      </tbody>
    </Table>
  );
}
