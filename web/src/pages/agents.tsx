// The agents that are configured, and within what limits they work.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { agentsQuery } from "~/api/queries";
import { useCan } from "~/app/identity";
import { useWords } from "~/i18n";
import { buttonClasses } from "~/ui/button";
import { Card, Facts, Page } from "~/ui/page";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { useTitle } from "~/ui/title";

export function AgentsPage() {
  const { t, format } = useWords();
  useTitle(t("nav.agents"));
  const mayWrite = useCan("runs:write");
  const { data, error, refetch } = useQuery(agentsQuery);
  return (
    <Page title={t("nav.agents")} width="reading">
      <p className="mb-4 text-sm text-muted">{t("agents.hint")}</p>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {!data && !error && <LoadingRows rows={4} />}
      {data?.agents.length === 0 && <Empty title={t("agents.empty")} />}
      <ul className="grid gap-3">
        {data?.agents.map(({ agent_id, description, models, limits }) => (
          <li key={agent_id}>
            <Card className="grid gap-3 p-4">
              <div className="flex flex-wrap items-center gap-2">
                <h2 className="font-mono text-base font-semibold">{agent_id}</h2>
                <div className="ml-auto flex gap-2">
                  <Link to="/runs" search={{ agent: agent_id }} className={buttonClasses("ghost")}>
                    {t("runs")}
                  </Link>
                  {mayWrite && (
                    <Link to="/" search={{ agent: agent_id }} className={buttonClasses("plain")}>
                      {t("agents.talk")}
                    </Link>
                  )}
                </div>
              </div>
              {description && <p className="text-sm text-muted">{description}</p>}
              <Facts
                rows={[
                  [
                    t("model"),
                    <code key="m" className="font-mono text-meta">
                      {models.join(" → ")}
                    </code>,
                  ],
                  [t("limits.steps"), limits.max_steps ?? "–"],
                  [
                    t("limits.time"),
                    limits.max_wall_s != null ? format.duration(limits.max_wall_s * 1000) : "–",
                  ],
                  [
                    t("limits.tokens"),
                    limits.max_tokens != null ? format.number(limits.max_tokens) : "–",
                  ],
                  [
                    t("limits.cost"),
                    limits.max_cost_usd != null ? format.cost(limits.max_cost_usd) : "–",
                  ],
                ]}
              />
            </Card>
          </li>
        ))}
      </ul>
    </Page>
  );
}
