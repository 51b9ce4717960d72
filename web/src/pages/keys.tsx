// API keys of the organisation: made, shown once, revoked.

import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Plus } from "lucide-react";
import { useState } from "react";
import { answered, api } from "~/api/client";
import { keysQuery } from "~/api/queries";
import type { ApiKey } from "~/api/types";
import { useWords } from "~/i18n";
import { CreateKey } from "~/keys/create";
import { Badge } from "~/ui/badge";
import { Button } from "~/ui/button";
import { Dialog } from "~/ui/dialog";
import { LoadMore } from "~/ui/load-more";
import { Page } from "~/ui/page";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { Cell, Head, Row, Table } from "~/ui/table";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

export function KeysPage() {
  const { t } = useWords();
  useTitle(t("nav.keys"));
  const list = useInfiniteQuery(keysQuery);
  const [isCreating, setCreating] = useState(false);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const keys = list.data?.pages.flatMap((page) => page.keys) ?? [];
  return (
    <Page
      title={t("nav.keys")}
      actions={
        <Button look="primary" onClick={() => setCreating(true)}>
          <Plus size={14} aria-hidden />
          {t("keys.create")}
        </Button>
      }
    >
      <p className="mb-4 text-sm text-muted">{t("keys.hint")}</p>
      {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
      {list.isPending && <LoadingRows />}
      {list.data && keys.length === 0 && (
        <Empty title={t("keys.empty")}>
          <CommandLine>{"openintern keys create ci --rights runs:read,runs:write"}</CommandLine>
        </Empty>
      )}
      {keys.length > 0 && (
        <Table label={t("nav.keys")}>
          <Head
            columns={[
              { name: t("keys.name") },
              { name: t("keys.key") },
              { name: t("keys.scope") },
              { name: t("keys.rights") },
              { name: t("keys.used"), align: "right" },
              { name: t("keys.state"), align: "right" },
              { name: t("actions"), align: "right" },
            ]}
          />
          <tbody>
            {keys.map((key) => (
              <Row key={key.key_id}>
                <Cell className="max-w-[220px] truncate font-medium">{key.name}</Cell>
                <Cell quiet className="font-mono text-meta whitespace-nowrap">
                  {key.prefix}…
                </Cell>
                <Cell quiet className="max-w-[200px] truncate">
                  {[key.org_id, key.user_id, key.project_id].filter(Boolean).join(" / ")}
                </Cell>
                <Cell quiet>{key.rights.join(", ")}</Cell>
                <Cell align="right" quiet>
                  {key.last_used_at ? <Ago at={key.last_used_at} /> : t("keys.never")}
                </Cell>
                <Cell align="right">
                  <KeyState of={key} />
                </Cell>
                <Cell align="right">
                  {!key.revoked_at && (
                    <Button look="danger" className="h-7" onClick={() => setRevoking(key)}>
                      {t("keys.revoke")}
                    </Button>
                  )}
                </Cell>
              </Row>
            ))}
          </tbody>
        </Table>
      )}
      <LoadMore source={list} />
      {isCreating && <CreateKey onClose={() => setCreating(false)} />}
      {revoking && <Revoke of={revoking} onClose={() => setRevoking(null)} />}
    </Page>
  );
}

function KeyState({ of }: { of: ApiKey }) {
  const { t, format } = useWords();
  if (of.revoked_at) return <Badge tone="err">{t("keys.revoked")}</Badge>;
  if (!of.expires_at) return <Badge tone="ok">{t("keys.good")}</Badge>;
  if (Date.parse(of.expires_at) < Date.now()) return <Badge>{t("keys.expired")}</Badge>;
  return <Badge tone="ok">{t("keys.until", { day: format.time(of.expires_at) })}</Badge>;
}

function Revoke({ of, onClose }: { of: ApiKey; onClose: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const revoke = useMutation({
    mutationFn: () =>
      answered(api.DELETE("/api/keys/{key_id}", { params: { path: { key_id: of.key_id } } })),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["keys"] });
      onClose();
    },
  });
  return (
    <Dialog
      title={t("keys.revoke.title", { name: of.name })}
      description={t("keys.revoke.hint")}
      onClose={onClose}
    >
      {revoke.error && <Failure error={revoke.error} />}
      <div className="mt-3 flex justify-end gap-2">
        <Button look="ghost" onClick={onClose}>
          {t("cancel")}
        </Button>
        <Button look="danger" disabled={revoke.isPending} onClick={() => revoke.mutate()}>
          {t("keys.revoke")}
        </Button>
      </div>
    </Dialog>
  );
}
