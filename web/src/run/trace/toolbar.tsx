import { ChevronsDownUp, ChevronsUpDown, MoveHorizontal } from "lucide-react";
import { SPAN_KINDS, type SpanKind } from "~/api/types";
import { useWords } from "~/i18n";
import { Figure } from "~/ui/badge";
import { Button, IconButton } from "~/ui/button";
import { Input } from "~/ui/field";
import { Kbd } from "~/ui/page";
import { SpanIcon } from "./icons";
import type { TraceState } from "./use-trace";

/** Finds and filters spans, and jumps among them. */
export function Toolbar({ trace }: { trace: TraceState }) {
  const { t } = useWords();
  const { isWhole, jump } = trace;
  return (
    <div className="flex flex-wrap items-center gap-x-2 gap-y-1.5 px-4 py-2">
      <Input
        type="search"
        data-filter
        aria-label={t("trace.filter")}
        placeholder={t("trace.filter")}
        value={trace.query}
        onChange={(event) => trace.filter(event.target.value)}
        className="w-[168px]"
      />
      <Figure>{t("trace.count", { n: trace.spans.all.length })}</Figure>
      <Kinds shown={trace.kinds} onChange={trace.show} />
      <div className="ml-auto flex items-center">
        <IconButton
          label={isWhole ? t("trace.axis.run") : t("trace.axis.fit")}
          aria-pressed={isWhole}
          className="size-7 aria-pressed:text-accent"
          onClick={() => trace.setWhole(!isWhole)}
        >
          <MoveHorizontal size={15} />
        </IconButton>
        <IconButton
          label={t("trace.close")}
          className="size-7"
          onClick={() => trace.foldAll(false)}
        >
          <ChevronsDownUp size={15} />
        </IconButton>
        <IconButton label={t("trace.open")} className="size-7" onClick={() => trace.foldAll(true)}>
          <ChevronsUpDown size={15} />
        </IconButton>
        <Jump name={t("trace.error")} keyName="e" onClick={() => jump.error()} />
        <Jump name={t("trace.slowest")} keyName="s" onClick={jump.slowest} />
        <Jump name={t("trace.costliest")} keyName="$" onClick={jump.costliest} />
      </div>
    </div>
  );
}

type KindsProps = { shown: ReadonlySet<SpanKind>; onChange: (kinds: SpanKind[]) => void };

/** Shows some kinds of spans alone; all of them where none is chosen. */
function Kinds({ shown, onChange }: KindsProps) {
  const { t } = useWords();
  const toggle = (kind: SpanKind) =>
    onChange(SPAN_KINDS.filter((one) => (one === kind ? !shown.has(one) : shown.has(one))));
  return (
    <fieldset aria-label={t("trace.kinds")} className="flex">
      {(["llm", "tool", "memory", "note"] as const).map((kind) => (
        <button
          key={kind}
          type="button"
          aria-label={t(`kind.${kind}`)}
          title={t(`kind.${kind}`)}
          aria-pressed={shown.has(kind)}
          onClick={() => toggle(kind)}
          data-kind={kind}
          className="grid size-7 place-items-center rounded-control text-(--mark) hover:bg-hover aria-pressed:bg-soft"
        >
          <SpanIcon kind={kind} />
        </button>
      ))}
    </fieldset>
  );
}

function Jump(props: { name: string; keyName: string; onClick: () => void }) {
  return (
    <Button look="ghost" className="h-7 px-1.5 text-meta" onClick={props.onClick}>
      {props.name} <Kbd>{props.keyName}</Kbd>
    </Button>
  );
}
