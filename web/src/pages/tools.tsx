// What runs can call: built-in tools and those of MCP servers, each with what it takes.

import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { toolsQuery } from "~/api/queries";
import type { LeftOutTool, TaughtModel, Tool } from "~/api/types";
import { useWords } from "~/i18n";
import { Badge, type Tone } from "~/ui/badge";
import { Button } from "~/ui/button";
import { Dialog } from "~/ui/dialog";
import { Input } from "~/ui/field";
import { JsonView } from "~/ui/json-view";
import { Page } from "~/ui/page";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { Cell, Head, Row, Table } from "~/ui/table";
import { useTitle } from "~/ui/title";

const TONES: Record<Tool["effect"], Tone> = {
  read_only: "ok",
  idempotent: "neutral",
  at_most_once: "warn",
};

export function ToolsPage() {
  const { t } = useWords();
  useTitle(t("nav.tools"));
  const { tool: opened, q = "" } = useSearch({ from: "/shell/tools" });
  const navigate = useNavigate({ from: "/tools" });
  const { data, error, refetch } = useQuery(toolsQuery);
  const needle = q.toLowerCase();
  const tools = data?.tools.filter(({ name, description }) =>
    `${name} ${description}`.toLowerCase().includes(needle),
  );
  const open = (name: string | undefined) =>
    void navigate({ search: (said) => ({ ...said, tool: name }), replace: true });
  const shown = data?.tools.find(({ name }) => name === opened);
  return (
    <Page
      title={t("nav.tools")}
      actions={
        <Input
          type="search"
          data-filter
          aria-label={t("tools.filter")}
          placeholder={t("tools.filter")}
          value={q}
          onChange={(event) =>
            void navigate({
              search: (said) => ({ ...said, q: event.target.value || undefined }),
              replace: true,
            })
          }
          className="w-[220px]"
        />
      }
    >
      <p className="mb-4 text-sm text-muted">{t("tools.hint")}</p>
      {error && <Failure error={error} onRetry={() => refetch()} />}
      {!data && !error && <LoadingRows />}
      {data?.tools.length === 0 && <Empty title={t("tools.empty")} />}
      {data && data.tools.length > 0 && tools?.length === 0 && (
        <Empty title={t("tools.none")}>
          <Button onClick={() => void navigate({ search: {} })}>{t("filters.clear")}</Button>
        </Empty>
      )}
      {tools && tools.length > 0 && (
        <Table label={t("nav.tools")}>
          <Head
            columns={[
              { name: t("tools.name") },
              { name: t("tools.source") },
              { name: t("tools.effect") },
              { name: t("description") },
            ]}
          />
          <tbody>
            {tools.map((tool) => (
              <Row key={tool.name}>
                <Cell>
                  <button
                    type="button"
                    onClick={() => open(tool.name)}
                    className="font-mono text-meta whitespace-nowrap text-accent hover:underline"
                  >
                    {tool.name}
                  </button>
                </Cell>
                <Cell quiet className="whitespace-nowrap">
                  <Source tool={tool} />
                </Cell>
                <Cell>
                  <Badge tone={TONES[tool.effect]}>{t(`effect.${tool.effect}`)}</Badge>
                </Cell>
                <Cell quiet className="w-full max-w-0 min-w-[200px] truncate">
                  {tool.description}
                </Cell>
              </Row>
            ))}
          </tbody>
        </Table>
      )}
      {data && <Notes leftOut={data.left_out} taught={data.taught} />}
      {shown && (
        <Dialog side title={shown.name} onClose={() => open(undefined)}>
          <div className="grid gap-4">
            <p className="flex items-center gap-2 text-sm text-muted">
              <Badge tone={TONES[shown.effect]}>{t(`effect.${shown.effect}`)}</Badge>
              <Source tool={shown} />
            </p>
            <p className="text-sm whitespace-pre-wrap wrap-any">{shown.description}</p>
            <p className="text-meta text-muted">{t(`effect.${shown.effect}.hint`)}</p>
            <JsonView value={shown.input_schema} label={t("tools.schema")} />
          </div>
        </Dialog>
      )}
    </Page>
  );
}

type NotesProps = { leftOut: LeftOutTool[]; taught: TaughtModel[] };

/** Tools that are offered and cannot be used, and models that are asked in another way. */
function Notes({ leftOut, taught }: NotesProps) {
  const { t } = useWords();
  if (leftOut.length + taught.length === 0) return null;
  return (
    <div className="mt-6 grid gap-6">
      {leftOut.length > 0 && (
        <NoteList
          title={t("tools.left_out")}
          notes={leftOut.map(({ name, reason }) => [name, reason])}
        />
      )}
      {taught.length > 0 && (
        <NoteList
          title={t("tools.taught")}
          notes={taught.map(({ model, lessons }) => [model, lessons.join("; ")])}
        />
      )}
    </div>
  );
}

function NoteList({ title, notes }: { title: string; notes: [name: string, words: string][] }) {
  return (
    <section>
      <h2 className="mb-2 text-section font-semibold">{title}</h2>
      <ul className="grid gap-1.5 rounded-card border border-line bg-panel px-4 py-3 text-sm">
        {notes.map(([name, words]) => (
          <li key={name} className="wrap-any">
            <code className="mr-2 font-mono text-meta">{name}</code>
            <span className="text-muted">{words}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Source({ tool }: { tool: Tool }) {
  const { t } = useWords();
  return tool.source.kind === "mcp"
    ? t("tools.mcp", { server: tool.source.server })
    : t("tools.builtin");
}
