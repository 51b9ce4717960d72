// The processes that work on the database, for those who may see them.

import { useQuery } from "@tanstack/react-query";
import { nodesQuery } from "~/api/queries";
import type { Node } from "~/api/types";
import { useWords } from "~/i18n";
import { Badge } from "~/ui/badge";
import { Card } from "~/ui/page";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { Cell, Head, Row, Table } from "~/ui/table";
import { Ago } from "~/ui/time";

export function Nodes() {
  const { t } = useWords();
  const { data, error, refetch } = useQuery(nodesQuery);
  if (!data) {
    return error ? <Failure error={error} onRetry={() => refetch()} /> : <LoadingRows rows={2} />;
  }
  return (
    <>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {data.nodes.length === 0 ? (
        <Card>
          <Empty title={t("nodes.empty")}>
            <CommandLine>{"openintern serve"}</CommandLine>
          </Empty>
        </Card>
      ) : (
        <NodeTable nodes={data.nodes} />
      )}
    </>
  );
}

function NodeTable({ nodes }: { nodes: Node[] }) {
  const { t, format } = useWords();
  return (
    <Table label={t("nodes")}>
      <Head
        columns={[
          { name: t("status"), width: "112px" },
          { name: t("nodes.node") },
          { name: t("nodes.version") },
          { name: t("nodes.runs") },
          { name: t("nav.tools"), align: "right" },
          { name: t("started"), align: "right" },
          { name: t("nodes.seen"), align: "right" },
        ]}
      />
      <tbody>
        {nodes.map((node) => (
          <Row key={node.node_id}>
            <Cell>
              <Badge dot tone={node.is_alive ? "ok" : "err"}>
                {t(node.is_alive ? "nodes.alive" : "nodes.silent")}
              </Badge>
            </Cell>
            <Cell className="font-mono text-meta" title={node.node_id}>
              {node.node_id.slice(-12)}
            </Cell>
            <Cell quiet className="tabular">
              {node.version}
            </Cell>
            <Cell className="w-full min-w-[160px]">
              <Places node={node} />
            </Cell>
            <Cell align="right" quiet>
              {format.number(node.tool_count)}
            </Cell>
            <Cell align="right" quiet>
              <Ago at={node.started_at} />
            </Cell>
            <Cell align="right" quiet={node.is_alive} className={node.is_alive ? "" : "text-err"}>
              <Ago at={node.seen_at} />
            </Cell>
          </Row>
        ))}
      </tbody>
    </Table>
  );
}

/** The runs in hand, of the places that there are. */
function Places({ node: { running, concurrency } }: { node: Node }) {
  const { t } = useWords();
  return (
    <span className="flex items-center gap-2">
      <span className="whitespace-nowrap tabular">
        {t("nodes.places", { running, concurrency })}
      </span>
      <span aria-hidden className="h-1.5 max-w-[240px] grow overflow-hidden rounded-full bg-sunken">
        <span
          className="block h-full bg-accent"
          style={{ width: `${(running / Math.max(1, concurrency)) * 100}%` }}
        />
      </span>
    </span>
  );
}
