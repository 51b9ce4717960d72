// One memory: its text, where it comes from, what stood there before, what says the same.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { Trash2 } from "lucide-react";
import { useState } from "react";
import { answered, api } from "~/api/client";
import { memoryLinksQuery, memoryQuery, memoryVersionsQuery } from "~/api/queries";
import type { Memory, Visibility } from "~/api/types";
import { useCan } from "~/app/identity";
import { useWords } from "~/i18n";
import { forget } from "~/memory/forget";
import { ImportanceField } from "~/memory/importance";
import { Badge } from "~/ui/badge";
import { Button } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { Field, Select, Textarea } from "~/ui/field";
import { JsonView } from "~/ui/json-view";
import { Card, Facts, Page } from "~/ui/page";
import { Failure, LoadingRows } from "~/ui/states";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

export function MemoryPage() {
  const { id } = useParams({ from: "/shell/memory/$id" });
  return <OneMemory key={id} id={id} />;
}

function OneMemory({ id }: { id: string }) {
  const { t } = useWords();
  useTitle(id);
  const { data: memory, error, refetch } = useQuery(memoryQuery(id));
  const [isEditing, setEditing] = useState(false);
  const mayWrite = useCan("memory:write");
  const navigate = useNavigate();
  const queries = useQueryClient();
  const remove = () => {
    forget(id, { going: t("memory.forgetting"), undo: t("undo") }, () =>
      queries.invalidateQueries({ queryKey: ["memories"] }),
    );
    void navigate({ to: "/memory" });
  };
  return (
    <Page
      title={t("memory.one")}
      width="reading"
      actions={
        memory &&
        mayWrite && (
          <>
            {!isEditing && <Button onClick={() => setEditing(true)}>{t("edit")}</Button>}
            <Button look="danger" onClick={remove}>
              <Trash2 size={14} aria-hidden />
              {t("memory.forget")}
            </Button>
          </>
        )
      }
    >
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {!memory && !error && <LoadingRows rows={5} />}
      {memory && (
        <div className="grid gap-5">
          <Card className="p-4">
            {isEditing ? (
              <Edit memory={memory} onDone={() => setEditing(false)} />
            ) : (
              <p className="whitespace-pre-wrap wrap-any">{memory.text}</p>
            )}
          </Card>
          <About memory={memory} />
          <Links id={id} />
          <Versions memory={memory} mayWrite={mayWrite} />
        </div>
      )}
    </Page>
  );
}

function About({ memory }: { memory: Memory }) {
  const { t, format } = useWords();
  return (
    <section className="grid gap-3">
      <Facts
        rows={[
          [
            t("id"),
            <span key="id" className="flex items-center gap-1">
              <code className="font-mono text-meta wrap-any">{memory.id}</code>
              <CopyButton text={memory.id} />
            </span>,
          ],
          [t("memory.layer"), t(`layer.${memory.type}`)],
          [
            t("memory.origin"),
            memory.origin ? (
              <Link
                key="run"
                to="/runs/$id"
                params={{ id: memory.origin.run_id }}
                search={{ tab: "context", step: memory.origin.step }}
                className="text-accent hover:underline"
              >
                {t("memory.by_run", { run: memory.origin.run_id, step: memory.origin.step })}
              </Link>
            ) : (
              t("memory.by_hand")
            ),
          ],
          [t("memory.visibility"), t(`visibility.${memory.visibility}`)],
          [t("memory.importance"), memory.importance.toFixed(2)],
          [t("created"), format.exactTime(memory.created_at)],
          [t("memory.changed"), format.exactTime(memory.updated_at)],
          ...(memory.occurred_at
            ? [[t("memory.occurred"), memory.occurred_at] as [string, string]]
            : []),
          ...(memory.group_key
            ? [
                [
                  t("memory.group"),
                  `${memory.group_key}${memory.position != null ? ` · ${memory.position}` : ""}`,
                ] as [string, string],
              ]
            : []),
        ]}
      />
      {Object.keys(memory.metadata).length > 0 && (
        <JsonView value={memory.metadata} label={t("memory.metadata")} />
      )}
    </section>
  );
}

function Edit({ memory, onDone }: { memory: Memory; onDone: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [text, setText] = useState(memory.text);
  const [importance, setImportance] = useState(memory.importance);
  const [visibility, setVisibility] = useState<Visibility>(memory.visibility);
  const isAdmin = useCan("admin");
  const save = useMutation({
    mutationFn: () =>
      answered(
        api.PATCH("/api/memories/{id}", {
          params: { path: { id: memory.id } },
          body: {
            text,
            importance,
            ...(visibility !== memory.visibility && { visibility }),
          },
        }),
      ),
    onSuccess: (saved) => {
      queries.setQueryData(memoryQuery(memory.id).queryKey, saved);
      void queries.invalidateQueries({ queryKey: ["memories"] });
      onDone();
    },
  });
  return (
    <form action={() => save.mutate()} className="grid gap-4">
      <Field label={t("memory.text")} hint={t("memory.versions.hint")}>
        {(attributes) => (
          <Textarea
            {...attributes}
            required
            rows={Math.min(14, text.split("\n").length + 2)}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        )}
      </Field>
      <div className="grid grid-cols-2 gap-4 max-sm:grid-cols-1">
        <ImportanceField value={importance} step={0.05} digits={2} onChange={setImportance} />
        <Field label={t("memory.visibility")}>
          {(attributes) => (
            <Select
              {...attributes}
              value={visibility}
              onChange={(event) => setVisibility(event.target.value as Visibility)}
            >
              {(["scope", "user", "org"] as const).map((one) => (
                <option
                  key={one}
                  value={one}
                  disabled={one === "org" && !isAdmin && memory.visibility !== "org"}
                >
                  {t(`visibility.${one}`)}
                </option>
              ))}
            </Select>
          )}
        </Field>
      </div>
      {save.error && <Failure error={save.error} />}
      <div className="flex gap-2">
        <Button look="primary" type="submit" disabled={save.isPending || !text.trim()}>
          {t("save")}
        </Button>
        <Button look="ghost" onClick={onDone}>
          {t("cancel")}
        </Button>
      </div>
    </form>
  );
}

function Links({ id }: { id: string }) {
  const { t } = useWords();
  const { data, error, refetch } = useQuery(memoryLinksQuery(id));
  const links = data?.links ?? [];
  if (links.length === 0 && !error) return null;
  return (
    <section>
      <h2 className="mb-2 text-section font-semibold">{t("memory.links")}</h2>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      <ul className="grid gap-2">
        {links.map((link) => {
          const isFrom = link.from === id;
          const other = isFrom ? link.to : link.from;
          return (
            <li key={link.from + link.to + link.kind} className="flex items-center gap-3 text-sm">
              <Badge tone={link.kind === "superseded" ? "warn" : "neutral"}>
                {t(`link_kind.${link.kind}.${isFrom ? "from" : "to"}`)}
              </Badge>
              <Link
                to="/memory/$id"
                params={{ id: other }}
                title={other}
                className="min-w-0 truncate text-accent hover:underline"
              >
                <FirstLine id={other} />
              </Link>
              <span className="text-meta text-muted tabular">{link.score.toFixed(2)}</span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** What the memory says, once it is read; its id until then. */
function FirstLine({ id }: { id: string }) {
  const { data } = useQuery(memoryQuery(id));
  return data ? data.text.split("\n", 1)[0] : id;
}

function Versions({ memory, mayWrite }: { memory: Memory; mayWrite: boolean }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const { data, error, refetch } = useQuery(memoryVersionsQuery(memory.id));
  const restore = useMutation({
    mutationFn: (text: string) =>
      answered(
        api.PATCH("/api/memories/{id}", { params: { path: { id: memory.id } }, body: { text } }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["memories"] }),
  });
  const versions = data?.versions ?? [];
  if (versions.length === 0 && !error) return null;
  return (
    <section>
      <h2 className="mb-2 text-section font-semibold">{t("memory.versions")}</h2>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {restore.error && <Failure error={restore.error} />}
      <ol className="grid gap-3 border-l border-line pl-4">
        {versions.map((version) => (
          <li key={version.version}>
            <p className="flex items-center gap-2 text-meta text-muted">
              <span className="tabular">v{version.version}</span>
              <Ago at={version.replaced_at} />
              {version.replaced_by && <ReplacedBy who={version.replaced_by} />}
              {mayWrite && version.text !== memory.text && (
                <Button
                  look="ghost"
                  className="h-6 px-2 text-meta"
                  disabled={restore.isPending}
                  onClick={() => restore.mutate(version.text)}
                >
                  {t("memory.restore")}
                </Button>
              )}
            </p>
            <p className="line-clamp-6 text-sm whitespace-pre-wrap text-muted wrap-any">
              {version.text}
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}

function ReplacedBy({ who }: { who: string }) {
  const { t } = useWords();
  const words = t("memory.replaced_by", { who });
  if (!who.startsWith("run_")) return <span>{words}</span>;
  return (
    <Link to="/runs/$id" params={{ id: who }} className="text-accent hover:underline">
      {words}
    </Link>
  );
}
