// A new conversation, and the recent ones.

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { agentsQuery, sessionsQuery } from "~/api/queries";
import { useCan } from "~/app/identity";
import { Composer } from "~/chat/composer";
import { forgetDraft, keepDraft } from "~/chat/drafts";
import { newMessageKey, newSessionKey, useSend } from "~/chat/send";
import { useWords } from "~/i18n";
import { Select } from "~/ui/field";
import { Failure } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

const DRAFT = "new";
const RECENT = 5;

export function StartPage() {
  const { t } = useWords();
  useTitle(t("nav.new"));
  const navigate = useNavigate({ from: "/" });
  const { agent } = useSearch({ from: "/shell/" });
  const mayWrite = useCan("runs:write");
  const send = useSend();
  // Trying again is the same message: the server makes it once.
  const [session] = useState(newSessionKey);
  const [tries, setTries] = useState(0);

  const start = (input: string) =>
    send.mutate(
      { input, session, agent, key: newMessageKey() },
      {
        onSuccess: () => {
          forgetDraft(DRAFT);
          void navigate({ to: "/sessions/$key", params: { key: session } });
        },
        onError: () => {
          keepDraft(DRAFT, input);
          setTries((n) => n + 1);
        },
      },
    );

  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto grid max-w-[760px] gap-6 px-4 pt-[14vh] pb-8">
        <h1 className="text-title font-semibold">{t("start.title")}</h1>
        {mayWrite ? (
          <div className="grid gap-2">
            <Composer key={tries} draft={DRAFT} onSend={start} autoFocus />
            <div className="flex items-center gap-3">
              <AgentChoice agent={agent} />
              <p className="text-meta text-muted">{t("start.hint")}</p>
            </div>
            {send.isError && <Failure error={send.error} />}
          </div>
        ) : (
          <p className="text-muted">{t("forbidden.right", { right: "runs:write" })}</p>
        )}
        <Recent />
      </div>
    </div>
  );
}

function AgentChoice({ agent }: { agent: string | undefined }) {
  const { t } = useWords();
  const navigate = useNavigate({ from: "/" });
  const { data } = useQuery({ ...agentsQuery, enabled: useCan("runs:read") });
  if (!data || data.agents.length < 2) return null;
  return (
    <Select
      aria-label={t("agent")}
      value={agent ?? "main"}
      onChange={(event) => void navigate({ search: { agent: event.target.value }, replace: true })}
      className="max-w-[240px]"
    >
      {data.agents.map(({ agent_id }) => (
        <option key={agent_id}>{agent_id}</option>
      ))}
    </Select>
  );
}

function Recent() {
  const { t } = useWords();
  const { data, error, refetch } = useInfiniteQuery({
    ...sessionsQuery,
    enabled: useCan("runs:read"),
  });
  const sessions = data?.pages[0]?.sessions.slice(0, RECENT) ?? [];
  if (sessions.length === 0 && !error) return null;
  return (
    <section>
      <h2 className="mb-1 text-sm font-medium text-muted">{t("start.recent")}</h2>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      <ul>
        {sessions.map((one) => (
          <li key={one.session_key}>
            <Link
              to="/sessions/$key"
              params={{ key: one.session_key }}
              className="-mx-3 flex h-10 items-center gap-3 rounded-control px-3 hover:bg-hover"
            >
              <span className="min-w-0 grow truncate">{one.last_input}</span>
              <StatusBadge status={one.last_status} />
              <span className="w-24 shrink-0 text-right text-meta text-muted">
                <Ago at={one.last_run_at} />
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}
