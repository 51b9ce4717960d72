// Who did what in the organisation, the latest first.

import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { auditQuery } from "~/api/queries";
import type { AuditRecord } from "~/api/types";
import { useWords } from "~/i18n";
import { LoadMore } from "~/ui/load-more";
import { Page } from "~/ui/page";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { Cell, Head, Row, Table } from "~/ui/table";
import { useTitle } from "~/ui/title";

export function AuditPage() {
  const { t, format } = useWords();
  useTitle(t("nav.audit"));
  const list = useInfiniteQuery(auditQuery);
  const records = list.data?.pages.flatMap((page) => page.records) ?? [];
  return (
    <Page title={t("nav.audit")}>
      <p className="mb-4 text-sm text-muted">{t("audit.hint")}</p>
      {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
      {list.isPending && <LoadingRows />}
      {list.data && records.length === 0 && <Empty title={t("audit.empty")} />}
      {records.length > 0 && (
        <Table label={t("nav.audit")}>
          <Head
            columns={[
              { name: t("audit.when") },
              { name: t("audit.actor") },
              { name: t("audit.action") },
              { name: t("audit.subject") },
              { name: t("audit.detail") },
            ]}
          />
          <tbody>
            {records.map((record) => (
              <Row key={record.audit_id}>
                <Cell
                  quiet
                  className="whitespace-nowrap tabular"
                  title={format.exactTime(record.at)}
                >
                  {format.time(record.at)}
                </Cell>
                <Cell className="max-w-[200px] truncate font-mono text-meta">{record.actor}</Cell>
                <Cell className="whitespace-nowrap">{t(`audit.${record.action}`)}</Cell>
                <Cell className="max-w-[260px] truncate font-mono text-meta">
                  <Subject record={record} />
                </Cell>
                <Cell quiet className="w-full max-w-0 min-w-[120px] truncate font-mono text-meta">
                  {Object.keys(record.detail).length > 0 && JSON.stringify(record.detail)}
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

function Subject({ record: { subject } }: { record: AuditRecord }) {
  if (!subject.startsWith("run_")) return subject;
  return (
    <Link to="/runs/$id" params={{ id: subject }} className="text-accent hover:underline">
      {subject}
    </Link>
  );
}
