// The events of a run as they were written: one a line, opened on demand, filtered by type, exported.

import { Download } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import type { RunEvent } from "~/api/types";
import { useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { download } from "~/ui/download";
import { Select } from "~/ui/field";
import { JsonView } from "~/ui/json-view";
import { Empty, Failure, LoadingRows } from "~/ui/states";
import { asMarkdown } from "./export";
import { FixedRows, type FixedRowsHandle } from "./trace/fixed-rows";
import { useRunLog } from "./use-run-log";

const ROW_HEIGHT = 28;

export function EventList({ runId }: { runId: string }) {
  const { t } = useWords();
  const { log, version, isLoading, error, reload } = useRunLog(runId);
  const [type, setType] = useState("");
  const [open, setOpen] = useState<number | null>(null);
  const list = useRef<FixedRowsHandle>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the log grows in place
  const types = useMemo(
    () => [...new Set(log.events.map((event) => event.type))].sort(),
    [log, version],
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: the log grows in place
  const events = useMemo(
    () => (type ? log.events.filter((event) => event.type === type) : [...log.events]),
    [log, version, type],
  );
  const opened = open === null ? undefined : log.events[open - 1];
  const lines = () => events.map((event) => JSON.stringify(event)).join("\n");
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-4 py-2">
        <Select
          data-filter
          aria-label={t("events.type")}
          value={type}
          onChange={(event) => setType(event.target.value)}
        >
          <option value="">{t("events.all", { n: log.last })}</option>
          {types.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </Select>
        <div className="ml-auto flex gap-2">
          <Button onClick={() => download(`${runId}.jsonl`, `${lines()}\n`)}>
            <Download size={14} aria-hidden />
            JSONL
          </Button>
          <Button onClick={() => download(`${runId}.md`, asMarkdown(runId, log.events))}>
            <Download size={14} aria-hidden />
            Markdown
          </Button>
        </div>
      </div>
      {error != null && (
        <div className="px-4 pt-3">
          <Failure error={error} onRetry={reload} />
        </div>
      )}
      <div className="flex min-h-0 grow">
        <div className="flex min-w-0 grow flex-col">
          {events.length === 0 ? (
            isLoading ? (
              <div className="px-4">
                <LoadingRows rows={10} height={ROW_HEIGHT} />
              </div>
            ) : (
              <Empty title={t("events.none")} />
            )
          ) : (
            <FixedRows
              handle={list}
              count={events.length}
              height={ROW_HEIGHT}
              onRange={() => {}}
              role="list"
              aria-label={t("run.tab.events")}
              tabIndex={0}
              renderRow={(index, transform) => (
                <EventRow
                  event={events[index]!}
                  isOpen={events[index]!.seq === open}
                  transform={transform}
                  onOpen={() => setOpen(events[index]!.seq)}
                />
              )}
            />
          )}
        </div>
        {opened && (
          <aside
            aria-label={t("events.one", { n: opened.seq })}
            className="w-[440px] shrink-0 overflow-y-auto border-l border-line p-4 max-lg:absolute max-lg:inset-y-0 max-lg:right-0 max-lg:max-w-full max-lg:bg-panel"
          >
            <header className="mb-2 flex items-center gap-1">
              <h2 className="font-mono text-sm font-semibold">
                #{opened.seq} {opened.type}
              </h2>
              <CopyButton text={JSON.stringify(opened)} />
              <Button look="ghost" className="ml-auto" onClick={() => setOpen(null)}>
                {t("close")}
              </Button>
            </header>
            <JsonView key={opened.seq} value={opened} label={opened.type} />
          </aside>
        )}
      </div>
    </div>
  );
}

type RowProps = { event: RunEvent; isOpen: boolean; transform: string; onOpen: () => void };

function EventRow({ event, isOpen, transform, onOpen }: RowProps) {
  return (
    <div
      role="listitem"
      className="absolute inset-x-0 top-0 [contain:strict]"
      style={{ height: ROW_HEIGHT, transform }}
    >
      <button
        type="button"
        aria-pressed={isOpen}
        onClick={onOpen}
        className="grid h-full w-full grid-cols-[56px_104px_150px_1fr] items-center gap-2 px-4 text-left font-mono text-meta hover:bg-hover aria-pressed:bg-soft"
      >
        <span className="text-muted tabular">#{event.seq}</span>
        <span className="text-muted tabular">{event.ts.slice(11, 23)}</span>
        <span className="truncate">{event.type}</span>
        <span className="truncate text-muted">{JSON.stringify(event.payload)}</span>
      </button>
    </div>
  );
}
