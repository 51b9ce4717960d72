// What a person chooses for this browser, who they are, and what runs here.

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { LogOut } from "lucide-react";
import type { ReactNode } from "react";
import { answered, api } from "~/api/client";
import { healthQuery } from "~/api/queries";
import { useScope } from "~/api/scope";
import { useIdentity } from "~/app/identity";
import { useWords } from "~/i18n";
import { prefer, usePreferences } from "~/preferences";
import { Button } from "~/ui/button";
import { Card, Facts, Page } from "~/ui/page";
import { Segments } from "~/ui/tabs";
import { useTitle } from "~/ui/title";

export function SettingsPage() {
  const { t, language } = useWords();
  useTitle(t("nav.settings"));
  const chosen = usePreferences();
  return (
    <Page title={t("nav.settings")} width="reading">
      <div className="grid gap-6">
        <Card>
          <Setting name={t("language")}>
            <Segments
              label={t("language")}
              value={language}
              options={[
                { value: "en", name: <span lang="en">English</span> },
                { value: "zh-CN", name: <span lang="zh-CN">中文</span> },
              ]}
              onChange={(next) => prefer({ language: next })}
            />
          </Setting>
          <Setting name={t("theme")}>
            <Segments
              label={t("theme")}
              value={chosen.theme}
              options={(["system", "light", "dark"] as const).map((value) => ({
                value,
                name: t(`theme.${value}`),
              }))}
              onChange={(theme) => prefer({ theme })}
            />
          </Setting>
          <Setting name={t("zone")} hint={t("zone.hint")}>
            <Segments
              label={t("zone")}
              value={chosen.timeZone}
              options={(["local", "utc"] as const).map((value) => ({
                value,
                name: t(`zone.${value}`),
              }))}
              onChange={(timeZone) => prefer({ timeZone })}
            />
          </Setting>
          <Setting name={t("density")} hint={t("density.hint")}>
            <Segments
              label={t("density")}
              value={chosen.density}
              options={(["compact", "comfortable"] as const).map((value) => ({
                value,
                name: t(`density.${value}`),
              }))}
              onChange={(density) => prefer({ density })}
            />
          </Setting>
          <Setting name={t("single_keys")} hint={t("single_keys.hint")}>
            <Segments
              label={t("single_keys")}
              value={chosen.singleKeys ? "on" : "off"}
              options={(["on", "off"] as const).map((value) => ({ value, name: t(value) }))}
              onChange={(value) => prefer({ singleKeys: value === "on" })}
            />
          </Setting>
        </Card>
        <Account />
        <About />
      </div>
    </Page>
  );
}

function Setting(props: { name: string; hint?: string; children: ReactNode }) {
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-2 border-b border-line px-4 py-3 last:border-b-0">
      <div className="mr-auto">
        <p className="text-sm font-medium">{props.name}</p>
        {props.hint && <p className="text-meta text-muted">{props.hint}</p>}
      </div>
      {props.children}
    </div>
  );
}

function Account() {
  const { t } = useWords();
  const identity = useIdentity();
  const scope = useScope();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const leave = async () => {
    await answered(api.POST("/api/logout"));
    queries.clear();
    void navigate({ to: "/login", search: {} });
  };
  return (
    <section>
      <h2 className="mb-2 text-section font-semibold">{t("account")}</h2>
      <Card className="flex flex-wrap items-end gap-4 p-4">
        <div className="grow">
          <Facts
            rows={[
              [
                t("scope"),
                [scope.org_id, scope.user_id, scope.project_id].filter(Boolean).join(" / "),
              ],
              [t("keys.rights"), identity.rights.join(", ")],
              [t("account.auth"), identity.authenticated ? t("account.key") : t("account.none")],
            ]}
          />
        </div>
        {identity.authenticated && (
          <Button onClick={() => void leave()}>
            <LogOut size={14} aria-hidden />
            {t("account.leave")}
          </Button>
        )}
      </Card>
    </section>
  );
}

function About() {
  const { t } = useWords();
  const { data } = useQuery(healthQuery);
  return (
    <section>
      <h2 className="mb-2 text-section font-semibold">{t("about")}</h2>
      <Card className="p-4">
        <Facts
          rows={[
            ["OpenIntern", data?.version ?? "–"],
            ["PostgreSQL", data?.database.version ?? "–"],
            [
              "API",
              <a key="docs" href="/docs" className="text-accent hover:underline">
                {t("about.docs")}
              </a>,
            ],
          ]}
        />
      </Card>
    </section>
  );
}
