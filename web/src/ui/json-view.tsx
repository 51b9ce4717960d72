// A JSON value as a tree that opens and closes. Long texts and lists are cut, and say so.

import { ChevronDown, ChevronRight, Download } from "lucide-react";
import { type ReactNode, useState } from "react";
import { useWords } from "~/i18n";
import { bytes } from "~/i18n/format";
import { IconButton } from "./button";
import { CopyButton } from "./copy";
import { download } from "./download";

const TEXT_MAX_CHARS = 65_536;
const ITEMS_MAX = 100;
/** Deeper levels begin closed. */
const OPEN_DEPTH = 3;

type Props = {
  value: unknown;
  label: string;
  /** A long text is shown whole from the start: somebody has asked for it. */
  isWhole?: boolean;
};

export function JsonView({ value, label, isWhole }: Props) {
  const { t } = useWords();
  const [isRaw, setRaw] = useState(false);
  const isTree = typeof value === "object" && value !== null;
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return (
    <section
      aria-label={label}
      className="rounded-control border border-line bg-sunken font-mono text-meta leading-5"
    >
      <div className="flex items-center justify-end gap-1 border-b border-line px-1.5 py-0.5 font-sans">
        <span className="mr-auto pl-1.5 text-meta text-muted">
          {label} · {bytes(new Blob([text]).size)}
        </span>
        {isTree && (
          <button
            type="button"
            aria-pressed={isRaw}
            onClick={() => setRaw(!isRaw)}
            className="h-7 rounded-control px-2 text-meta text-muted hover:bg-hover"
          >
            {isRaw ? t("json.tree") : t("json.raw")}
          </button>
        )}
        {text.length > TEXT_MAX_CHARS && (
          <IconButton
            label={t("json.download")}
            className="size-7"
            onClick={() => download(`${label}.${isTree ? "json" : "txt"}`, text)}
          >
            <Download size={14} />
          </IconButton>
        )}
        <CopyButton text={text} />
      </div>
      <div className="overflow-x-auto px-3 py-2">
        {isTree && !isRaw ? (
          <Node value={value} depth={0} />
        ) : (
          <LongText text={text} isWhole={isWhole} />
        )}
      </div>
    </section>
  );
}

function Node({ name, value, depth }: { name?: string; value: unknown; depth: number }) {
  const [isOpen, setOpen] = useState(depth < OPEN_DEPTH);
  const [shown, setShown] = useState(ITEMS_MAX);
  const { t } = useWords();
  const label = name !== undefined && <span className="text-syn-key">{name}: </span>;
  if (typeof value !== "object" || value === null) {
    return (
      <Line depth={depth}>
        {label}
        <Leaf value={value} />
      </Line>
    );
  }
  const entries = Object.entries(value);
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  return (
    <>
      <Line depth={depth}>
        <button
          type="button"
          aria-expanded={isOpen}
          onClick={() => setOpen(!isOpen)}
          className="-ml-4 inline-flex min-h-6 items-center"
        >
          {isOpen ? <ChevronDown size={13} aria-hidden /> : <ChevronRight size={13} aria-hidden />}
          <span className="pl-0.5">
            {label}
            <span className="text-muted">{size}</span>
          </span>
        </button>
      </Line>
      {isOpen &&
        entries
          .slice(0, shown)
          .map(([key, child]) => <Node key={key} name={key} value={child} depth={depth + 1} />)}
      {isOpen && entries.length > shown && (
        <Line depth={depth + 1}>
          <button
            type="button"
            onClick={() => setShown(entries.length)}
            className="font-sans text-accent hover:underline"
          >
            {t("json.more", { n: entries.length - shown })}
          </button>
        </Line>
      )}
    </>
  );
}

function Line({ depth, children }: { depth: number; children: ReactNode }) {
  return (
    <div className="wrap-any" style={{ paddingLeft: depth * 14 + 16 }}>
      {children}
    </div>
  );
}

function Leaf({ value }: { value: unknown }) {
  if (typeof value === "string") {
    return (
      <span className="text-syn-str">
        <LongText text={JSON.stringify(value)} />
      </span>
    );
  }
  const isNumber = typeof value === "number";
  return <span className={isNumber ? "text-syn-num" : "text-syn-kw"}>{String(value)}</span>;
}

function LongText({ text, isWhole: wasWhole = false }: { text: string; isWhole?: boolean }) {
  const { t } = useWords();
  const [isWhole, setWhole] = useState(wasWhole);
  const isCut = text.length > TEXT_MAX_CHARS && !isWhole;
  return (
    <span className="whitespace-pre-wrap wrap-any">
      {isCut ? text.slice(0, TEXT_MAX_CHARS) : text}
      {isCut && (
        <button
          type="button"
          onClick={() => setWhole(true)}
          className="ml-1 font-sans text-accent hover:underline"
        >
          {t("json.cut", { shown: bytes(TEXT_MAX_CHARS), size: bytes(text.length) })}
        </button>
      )}
    </span>
  );
}
