// All conversations, the latest first.

import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { sessionsQuery } from "~/api/queries";
import { useWords } from "~/i18n";
import { buttonClasses } from "~/ui/button";
import { LoadMore } from "~/ui/load-more";
import { Page } from "~/ui/page";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { StatusBadge } from "~/ui/status-badge";
import { Cell, Head, Row, Table } from "~/ui/table";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

export function SessionsPage() {
  const { t } = useWords();
  useTitle(t("nav.sessions"));
  const navigate = useNavigate();
  const list = useInfiniteQuery(sessionsQuery);
  const sessions = list.data?.pages.flatMap((page) => page.sessions) ?? [];
  return (
    <Page
      title={t("nav.sessions")}
      actions={
        <Link to="/" className={buttonClasses("primary")}>
          {t("nav.new")}
        </Link>
      }
    >
      {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
      {list.isPending && <LoadingRows />}
      {list.data && sessions.length === 0 && (
        <Empty title={t("sessions.empty")}>
          <Link to="/" className={buttonClasses("primary")}>
            {t("sessions.start")}
          </Link>
          <CommandLine>{'openintern run "hello" --stream'}</CommandLine>
        </Empty>
      )}
      {sessions.length > 0 && (
        <Table label={t("nav.sessions")}>
          <Head
            columns={[
              { name: t("sessions.last") },
              { name: t("session") },
              { name: t("status"), width: "120px" },
              { name: t("runs"), align: "right" },
              { name: t("sessions.when"), align: "right" },
            ]}
          />
          <tbody>
            {sessions.map((one) => (
              <Row
                key={one.session_key}
                className="cursor-pointer"
                onClick={() =>
                  void navigate({ to: "/sessions/$key", params: { key: one.session_key } })
                }
              >
                <Cell className="w-full max-w-0 truncate">
                  <Link
                    to="/sessions/$key"
                    params={{ key: one.session_key }}
                    className="hover:underline"
                  >
                    {one.last_input}
                  </Link>
                </Cell>
                <Cell quiet className="max-w-[220px] truncate font-mono text-meta">
                  {one.session_key}
                </Cell>
                <Cell>
                  <StatusBadge status={one.last_status} />
                </Cell>
                <Cell align="right">{one.run_count}</Cell>
                <Cell align="right" quiet>
                  <Ago at={one.last_run_at} />
                </Cell>
              </Row>
            ))}
          </tbody>
        </Table>
      )}
      <LoadMore source={list} />
    </Page>
  );
}
