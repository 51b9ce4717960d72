// What is remembered: by layer, and found again by a search that says why.

import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Plus, Search } from "lucide-react";
import { type ReactNode, useState } from "react";
import { memoriesQuery, memorySearchQuery } from "~/api/queries";
import { type Hit, MEMORY_TYPES, type MemorySummary, type MemoryType } from "~/api/types";
import { useCan } from "~/app/identity";
import { useWords } from "~/i18n";
import { useForgetting } from "~/memory/forget";
import { Highlighted, Score } from "~/memory/score";
import { WhyNot } from "~/memory/why-not";
import { WriteMemory } from "~/memory/write";
import { Figure } from "~/ui/badge";
import { Button } from "~/ui/button";
import { LoadMore } from "~/ui/load-more";
import { Page } from "~/ui/page";
import { SearchInput } from "~/ui/search-input";
import { CommandLine, Empty, Failure, LoadingRows } from "~/ui/states";
import { Segments } from "~/ui/tabs";
import { Ago } from "~/ui/time";
import { useTitle } from "~/ui/title";

export function MemoriesPage() {
  const { t } = useWords();
  useTitle(t("nav.memory"));
  const { layer, q } = useSearch({ from: "/shell/memory" });
  const navigate = useNavigate({ from: "/memory" });
  const [isWriting, setWriting] = useState(false);
  const mayWrite = useCan("memory:write");
  return (
    <Page
      title={t("nav.memory")}
      width="reading"
      actions={
        mayWrite && (
          <Button onClick={() => setWriting(true)}>
            <Plus size={14} aria-hidden />
            {t("memory.write")}
          </Button>
        )
      }
    >
      <Segments
        label={t("memory.layer")}
        value={layer ?? "all"}
        onChange={(next) =>
          void navigate({
            search: (said) => ({ ...said, layer: next === "all" ? undefined : next }),
            replace: true,
          })
        }
        options={[
          { value: "all" as const, name: t("memory.all") },
          ...MEMORY_TYPES.map((type) => ({ value: type, name: t(`layer.${type}`) })),
        ]}
      />
      {layer && <p className="mt-2 text-meta text-muted">{t(`layer.${layer}.hint`)}</p>}
      <div className="relative my-4">
        <Search size={16} aria-hidden className="absolute top-3 left-3 text-muted" />
        <SearchInput
          label={t("memory.search")}
          value={q ?? ""}
          onChange={(query) =>
            void navigate({ search: (said) => ({ ...said, q: query || undefined }), replace: true })
          }
          className="h-10 w-full pl-9 text-base"
        />
      </div>
      {q ? <Found query={q} layer={layer} /> : <Listed layer={layer} />}
      {isWriting && <WriteMemory onClose={() => setWriting(false)} />}
    </Page>
  );
}

function Found({ query, layer }: { query: string; layer: MemoryType | undefined }) {
  const { t } = useWords();
  const navigate = useNavigate({ from: "/memory" });
  const search = useQuery({
    ...memorySearchQuery(query, layer),
    placeholderData: keepPreviousData,
  });
  const forgetting = useForgetting();
  const hits = search.data?.hits.filter(({ id }) => !forgetting.has(id)) ?? [];
  if (search.error) return <Failure error={search.error} onRetry={() => search.refetch()} />;
  if (search.isPending) return <LoadingRows rows={4} height={96} />;
  return (
    <>
      {hits.length === 0 && (
        <Empty title={t("memory.none")}>
          <Button onClick={() => void navigate({ search: {} })}>{t("filters.clear")}</Button>
        </Empty>
      )}
      <ol aria-busy={search.isPlaceholderData} className="grid gap-3">
        {hits.map((hit, place) => (
          <HitCard key={hit.id} hit={hit} place={place + 1} />
        ))}
      </ol>
      <WhyNot query={query} layer={layer} />
    </>
  );
}

function HitCard({ hit, place }: { hit: Hit; place: number }) {
  const { t } = useWords();
  return (
    <Item
      id={hit.id}
      text={<Highlighted text={hit.snippet} terms={hit.explain?.matched_terms ?? []} />}
    >
      <span className="tabular">#{place}</span>
      <Figure>{t(`layer.${hit.type}`)}</Figure>
      <code className="min-w-0 truncate font-mono">{hit.id}</code>
      <div className="mt-2 w-full">
        <Score hit={hit} />
      </div>
    </Item>
  );
}

function Listed({ layer }: { layer: MemoryType | undefined }) {
  const { t } = useWords();
  const list = useInfiniteQuery(memoriesQuery(layer));
  const forgetting = useForgetting();
  const memories = (list.data?.pages.flatMap((page) => page.memories) ?? []).filter(
    ({ id }) => !forgetting.has(id),
  );
  return (
    <>
      {list.error && <Failure error={list.error} onRetry={() => list.refetch()} />}
      {list.isPending && <LoadingRows rows={5} height={80} />}
      {list.data && memories.length === 0 && (
        <Empty title={layer ? t("memory.none") : t("memory.empty")}>
          {!layer && <CommandLine>{'openintern run "Remember: I drink green tea."'}</CommandLine>}
        </Empty>
      )}
      <ul className="grid gap-3">
        {memories.map((memory) => (
          <MemoryCard key={memory.id} memory={memory} />
        ))}
      </ul>
      <LoadMore source={list} />
    </>
  );
}

function MemoryCard({ memory }: { memory: MemorySummary }) {
  const { t } = useWords();
  return (
    <Item id={memory.id} text={memory.snippet}>
      <Figure>{t(`layer.${memory.type}`)}</Figure>
      {memory.visibility !== "scope" && <Figure>{t(`visibility.${memory.visibility}`)}</Figure>}
      <Ago at={memory.updated_at} />
      <span>
        {t("memory.importance")} {memory.importance.toFixed(1)}
      </span>
      {memory.group_key && <span className="min-w-0 truncate">{memory.group_key}</span>}
      <code className="ml-auto min-w-0 truncate font-mono text-faint">{memory.id}</code>
    </Item>
  );
}

/** One memory in a list: its text leads to it. */
function Item({ id, text, children }: { id: string; text: ReactNode; children: ReactNode }) {
  return (
    <li className="relative rounded-card border border-line bg-panel px-4 py-3 hover:border-control">
      <Link
        to="/memory/$id"
        params={{ id }}
        className="line-clamp-4 whitespace-pre-wrap wrap-any after:absolute after:inset-0 after:rounded-card"
      >
        {text}
      </Link>
      <div className="mt-2 flex flex-wrap items-center gap-x-3 gap-y-1 text-meta text-muted">
        {children}
      </div>
    </li>
  );
}
