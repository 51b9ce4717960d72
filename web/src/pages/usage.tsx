// What was used: by hour or day, and by model, agent, user or project; of the scope, or of the whole
// organisation for those who administer it.

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { runSummaryQuery, type UsageAsked, usageQuery } from "~/api/queries";
import type { UsageRow } from "~/api/types";
import { useCan } from "~/app/identity";
import { useWords } from "~/i18n";
import type { Format } from "~/i18n/format";
import { USAGE_BY, USAGE_FIGURES } from "~/router";
import { Button } from "~/ui/button";
import { Select } from "~/ui/field";
import { Card, Page } from "~/ui/page";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { Segments } from "~/ui/tabs";
import { useTitle } from "~/ui/title";
import { UsageChart } from "~/usage/chart";
import { canBeByHour, DAYS_DEFAULT, PERIODS, periodOf, slotsOf } from "~/usage/period";
import { byName, cachedShare, sumOf } from "~/usage/sums";
import { TableByName, TableByTime } from "~/usage/tables";

type Figure = (typeof USAGE_FIGURES)[number];

const VALUE: Record<Figure, (row: UsageRow) => number | null> = {
  cost: (row) => row.cost_usd,
  tokens: (row) => row.input_tokens + row.output_tokens,
  runs: (row) => row.runs,
  latency: (row) => row.duration_p95_ms ?? null,
};

const SAID: Record<Figure, (format: Format, value: number) => string> = {
  cost: (format, value) => format.cost(value),
  tokens: (format, value) => format.tokens(value),
  runs: (format, value) => format.number(value),
  latency: (format, value) => format.duration(value),
};

/** What the column of names is called. */
const NAMED = {
  model: "model",
  agent: "agent",
  user: "keys.user",
  project: "keys.project",
} as const;

/** What the address asks for, within what can be answered. */
function useAsked() {
  const search = useSearch({ from: "/shell/usage" });
  const isAdmin = useCan("admin");
  const isOfAll = isAdmin && search.of === "organisation";
  const isOfMany = search.by === "user" || search.by === "project";
  const by = search.by && (isOfAll || !isOfMany) ? search.by : "model";
  const asked: UsageAsked = { ...periodOf(search.days, search.per), by, isOfAll };
  return { asked, figure: search.figure ?? "tokens", isAdmin };
}

export function UsagePage() {
  const { t } = useWords();
  useTitle(t("nav.usage"));
  const navigate = useNavigate({ from: "/usage" });
  const { asked, figure, isAdmin } = useAsked();
  const { data, error, refetch, isPlaceholderData } = useQuery({
    ...usageQuery(asked),
    placeholderData: keepPreviousData,
  });
  const isUnasked = asked.days === DAYS_DEFAULT;
  const longest = PERIODS.at(-1)!;
  return (
    <Page title={t("nav.usage")} actions={<Choices asked={asked} isAdmin={isAdmin} />}>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {!data && !error && <LoadingRows rows={6} />}
      {data?.rows.length === 0 && (
        <Empty title={isUnasked ? t("usage.empty") : t("usage.none")}>
          {asked.days < longest && (
            <Button
              onClick={() =>
                void navigate({
                  search: (said) => ({ ...said, days: longest, per: undefined }),
                  replace: true,
                })
              }
            >
              {t("runs.days", { n: longest })}
            </Button>
          )}
          {isUnasked && <CommandLine>{'openintern run "hello" --stream'}</CommandLine>}
        </Empty>
      )}
      {data && data.rows.length > 0 && (
        <div aria-busy={isPlaceholderData} className="grid gap-6 aria-busy:opacity-60">
          <Used asked={asked} figure={figure} rows={data.rows} isCut={data.is_cut} />
        </div>
      )}
    </Page>
  );
}

function Choices({ asked, isAdmin }: { asked: UsageAsked; isAdmin: boolean }) {
  const { t } = useWords();
  const navigate = useNavigate({ from: "/usage" });
  const set = (changes: object) =>
    void navigate({ search: (said) => ({ ...said, ...changes }), replace: true });
  return (
    <>
      {isAdmin && (
        <Segments
          label={t("usage.of")}
          value={asked.isOfAll ? "organisation" : "scope"}
          options={(["scope", "organisation"] as const).map((of) => ({
            value: of,
            name: t(`usage.of.${of}`),
          }))}
          onChange={(of) => set({ of: of === "organisation" ? of : undefined })}
        />
      )}
      <Select
        aria-label={t("usage.by")}
        value={asked.by}
        onChange={(event) => set({ by: event.target.value })}
      >
        {USAGE_BY.filter((by) => asked.isOfAll || by === "model" || by === "agent").map((by) => (
          <option key={by} value={by}>
            {t(`usage.by.${by}`)}
          </option>
        ))}
      </Select>
      <Select
        aria-label={t("runs.time")}
        value={asked.days}
        onChange={(event) => set({ days: Number(event.target.value) })}
      >
        {[...new Set([...PERIODS, asked.days])].map((n) => (
          <option key={n} value={n}>
            {t("runs.days", { n })}
          </option>
        ))}
      </Select>
      <Segments
        label={t("usage.per")}
        value={asked.per}
        options={(["day", "hour"] as const)
          .filter((per) => per === asked.per || (asked.days > 1 && canBeByHour(asked.days)))
          .map((per) => ({ value: per, name: t(`usage.${per}`) }))}
        onChange={(per) => set({ per: per === "hour" ? per : undefined })}
      />
    </>
  );
}

type UsedProps = { asked: UsageAsked; figure: Figure; rows: UsageRow[]; isCut: boolean };

function Used({ asked, figure, rows, isCut }: UsedProps) {
  const { t, format } = useWords();
  const navigate = useNavigate({ from: "/usage" });
  const unnamed = asked.by === "project" ? t("usage.no_project") : t("usage.no_model");
  const groups = byName(rows).map(([name, of]) => [name ?? unnamed, of] as [string, UsageRow[]]);
  const name = t(NAMED[asked.by]);
  const label = figure === "latency" ? t("usage.p95") : t(`usage.${figure}`);
  return (
    <>
      <Totals asked={asked} rows={rows} />
      {isCut && (
        <p role="status" className="text-sm text-warn">
          {t("usage.cut")}
        </p>
      )}
      <section className="grid gap-3">
        <div className="flex flex-wrap items-center gap-3">
          <h2 className="text-section font-semibold">{t("usage.over_time")}</h2>
          <Segments
            label={t("usage.figure")}
            value={figure}
            options={USAGE_FIGURES.map((one) => ({ value: one, name: t(`usage.${one}`) }))}
            onChange={(next) =>
              void navigate({ search: (said) => ({ ...said, figure: next }), replace: true })
            }
          />
        </div>
        <UsageChart
          label={label}
          slots={slotsOf(asked)}
          per={asked.per}
          groups={groups}
          figureOf={VALUE[figure]}
          say={(value) => SAID[figure](format, value)}
          shape={figure === "latency" ? "lines" : "bars"}
        />
      </section>
      <section className="grid gap-3">
        <h2 className="text-section font-semibold">{t(`usage.by.${asked.by}`)}</h2>
        <TableByName name={name} groups={groups} />
      </section>
      <section className="grid gap-3">
        <h2 className="text-section font-semibold">
          {t(asked.per === "hour" ? "usage.hour" : "usage.day")}
        </h2>
        <TableByTime
          key={JSON.stringify(asked)}
          name={name}
          per={asked.per}
          rows={rows}
          nameOf={(row) => row.name ?? unnamed}
        />
      </section>
    </>
  );
}

/** All of the time in a few figures. Percentiles do not add up: the server has them of the scope. */
function Totals({ asked, rows }: { asked: UsageAsked; rows: UsageRow[] }) {
  const { t, format } = useWords();
  const {
    data: summary,
    error,
    refetch,
  } = useQuery({ ...runSummaryQuery(asked), enabled: !asked.isOfAll });
  const sum = sumOf(rows);
  const share = cachedShare(sum);
  const latency = (ms: number | null | undefined) => (ms == null ? "–" : format.duration(ms));
  const cards: [name: string, figure: string, hint: string][] = [
    [t("cost"), format.cost(sum.costUsd), t("runs.days", { n: asked.days })],
    [
      t("tokens"),
      format.tokens(sum.inputTokens + sum.outputTokens),
      t("usage.in_out", {
        input: format.tokens(sum.inputTokens),
        output: format.tokens(sum.outputTokens),
      }),
    ],
    [
      t("usage.cached"),
      share === null ? "–" : format.share(share),
      t("tokens.short", { n: format.tokens(sum.cachedTokens) }),
    ],
    [t("runs"), format.number(sum.runs), t("usage.of_them_failed", { n: sum.failed })],
  ];
  if (!asked.isOfAll) {
    const half = latency(summary?.duration_p50_ms);
    cards.push([
      t("usage.p95"),
      latency(summary?.duration_p95_ms),
      t("usage.half", { time: half }),
    ]);
  }
  return (
    <>
      <div className="grid grid-cols-[repeat(auto-fit,minmax(150px,1fr))] gap-3">
        {cards.map(([name, figure, hint]) => (
          <Card key={name} className="p-4">
            <p className="text-sm text-muted">{name}</p>
            <p className="text-figure font-semibold tabular">{figure}</p>
            <p className="text-meta text-faint">{hint}</p>
          </Card>
        ))}
      </div>
      {error && <Failure error={error} onRetry={() => refetch()} />}
    </>
  );
}
