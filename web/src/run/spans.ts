// The trace: spans made from the events of a run. The one file that knows where spans come from.
//
// Events are stamped when they are committed, several at a time, so that stamps alone would give bars
// of no length. What a step did it did in order, and says how long each part took: from that, and the
// stamps as bounds, the bars are laid out.

import { useMemo } from "react";
import type { ResumeReason, RunEvent, SpanKind } from "~/api/types";
import { useWords } from "~/i18n";
import type { RunLog } from "./log";
import { warningName } from "./warnings";

export type Span = {
  id: string;
  parent: string | null;
  kind: SpanKind;
  name: string;
  /** Milliseconds since 1970; `end` is null while it goes on. */
  start: number;
  end: number | null;
  isError: boolean;
  tokens: number | null;
  costUsd: number | null;
  /** Numbers of the events that it is made of. */
  events: number[];
};

/** What a span was given and what it gave, for the inspector. */
export type Payload = {
  input: unknown;
  output: unknown;
  /** The output was longer than its bound. */
  isCut: boolean;
  facts: [string, unknown][];
};

/** What spans are called that neither a tool nor a model names. */
export type Names = {
  step: (n: number) => string;
  recall: (hits: number) => string;
  resumed: (reason: ResumeReason) => string;
  warning: (code: string) => string;
  compacted: (step: number) => string;
};

const NAMES: Names = {
  step: (n) => `step ${n}`,
  recall: (hits) => `recall · ${hits}`,
  resumed: (reason) => `resumed: ${reason}`,
  warning: (code) => code,
  compacted: (step) => `compacted: steps to ${step}`,
};

/** Makes spans while events come; everything stays where it was put. */
export class Spans {
  readonly all: Span[] = [];
  private readonly byId = new Map<string, Span>();
  private taken = 0;
  private step: Span | null = null;
  /** Where the next part of the step begins. */
  private clock = 0;

  constructor(private readonly names: Names = NAMES) {}

  /** Takes the events that are new. */
  take(events: RunEvent[]): void {
    for (; this.taken < events.length; this.taken += 1) this.add(events[this.taken]!);
  }

  get(id: string): Span | undefined {
    return this.byId.get(id);
  }

  private add(event: RunEvent): void {
    const at = Date.parse(event.ts);
    switch (event.type) {
      case "run.started":
        this.open(event, "run", event.agent_id, at);
        return;
      case "run.resumed":
        this.note(event, this.names.resumed(event.payload.reason), at, false);
        this.step = null;
        return;
      case "run.warning":
        this.note(event, this.names.warning(event.payload.code), at, false);
        return;
      case "context.compacted":
        this.note(event, this.names.compacted(event.payload.through_step), at, false);
        return;
      case "step.started":
        this.step =
          this.reopen(event, at) ??
          this.open(event, "step", this.names.step(event.payload.step), at);
        this.clock = at;
        return;
      case "memory.recalled": {
        const { hits, duration_ms } = event.payload;
        const name = this.names.recall(hits.length);
        this.part(event, `recall-${event.seq}`, "memory", name, duration_ms, at);
        return;
      }
      case "llm.called": {
        const { provider, model, duration_ms, usage, cost_usd } = event.payload;
        const name = `${provider}/${model}`;
        const span = this.part(event, event.span_id, "llm", name, duration_ms, at);
        span.tokens = usage.total_tokens;
        span.costUsd = cost_usd;
        return;
      }
      case "tool.called": {
        const known = this.byId.get(event.span_id);
        if (known) {
          known.events.push(event.seq); // Called again by the next worker.
          known.end = null;
          return;
        }
        this.open(event, "tool", event.payload.tool, Math.max(at, this.clock));
        return;
      }
      case "tool.result": {
        const span = this.byId.get(event.span_id);
        if (!span) return;
        span.events.push(event.seq);
        span.start = Math.max(this.clock, at - event.payload.duration_ms);
        span.end = Math.max(at, span.start);
        span.isError = event.payload.is_error;
        this.clock = span.end;
        return;
      }
      case "step.completed": {
        const step = this.byId.get(event.span_id);
        if (!step) return;
        step.events.push(event.seq);
        step.end = Math.max(at, this.clock);
        return;
      }
      case "run.completed":
      case "run.failed":
      case "run.cancelled":
        this.finish(event, at);
        return;
    }
  }

  /** A part of a step whose length is known when it is over. */
  private part(
    event: RunEvent,
    id: string,
    kind: SpanKind,
    name: string,
    ms: number,
    at: number,
  ): Span {
    // The first parts are committed with the step's start, and began before that stamp.
    if (this.step && this.step.events.length === 1 && at - ms < this.clock) {
      const earlier = Math.max(0, this.clock - (at - ms));
      this.shift(earlier);
    }
    const span = this.open(event, kind, name, this.clock, id);
    span.end = this.clock + ms;
    this.clock = span.end;
    return span;
  }

  /** The step began earlier than its stamp says, by as much as its first parts took. */
  private shift(ms: number): void {
    if (!this.step) return;
    const first = this.all.lastIndexOf(this.step);
    const before = this.all[first - 1];
    const bound = before?.end ?? 0;
    const by = Math.min(ms, Math.max(0, this.step.start - bound));
    for (const span of this.all.slice(first)) {
      span.start -= by;
      if (span.end !== null) span.end -= by;
    }
    this.clock -= by;
    const run = this.all[0]!;
    run.start = Math.min(run.start, this.step.start);
  }

  private open(event: RunEvent, kind: SpanKind, name: string, start: number, id = event.span_id) {
    const parent = id === event.span_id ? (event.parent_span_id ?? null) : event.span_id;
    const span: Span = {
      id,
      parent,
      kind,
      name,
      start,
      end: null,
      isError: false,
      tokens: null,
      costUsd: null,
      events: [event.seq],
    };
    this.all.push(span);
    this.byId.set(id, span);
    return span;
  }

  /** A step that another worker goes on with. */
  private reopen(event: RunEvent, at: number): Span | null {
    const step = this.byId.get(event.span_id);
    if (!step) return null;
    step.events.push(event.seq);
    step.end = null;
    this.clock = at;
    return step;
  }

  private note(event: RunEvent, name: string, at: number, isError: boolean): void {
    const parent = this.byId.has(event.span_id) ? event.span_id : (this.all[0]?.id ?? null);
    const span = this.open(event, "note", name, at, `note-${event.seq}`);
    span.parent = parent;
    span.end = at;
    span.isError = isError;
  }

  private finish(event: RunEvent, at: number): void {
    const run = this.all[0];
    if (!run) return;
    run.events.push(event.seq);
    run.isError = event.type === "run.failed";
    for (const span of this.all) {
      // What was still going on has been dropped with the run.
      if (span.end === null) span.end = Math.max(at, span.start);
    }
    if (event.type === "run.completed") {
      run.tokens = event.payload.usage.total_tokens;
      run.costUsd = event.payload.cost_usd;
    }
  }
}

/** The spans of a run; they grow in place, with the version of its log. */
export function useSpans({ log }: { log: RunLog }): Spans {
  const { t } = useWords();
  // biome-ignore lint/correctness/useExhaustiveDependencies: another log has other spans
  const spans = useMemo(
    () =>
      new Spans({
        step: (n) => t("span.step", { n }),
        recall: (n) => t("span.recall", { n }),
        resumed: (reason) => t(`resumed.${reason}`),
        warning: (code) => warningName(t, code),
        compacted: (step) => t("span.compacted", { step }),
      }),
    [log, t],
  );
  spans.take(log.events);
  return spans;
}

export function payloadOf(span: Span, events: RunEvent[]): Payload {
  const made = span.events.map((seq) => events[seq - 1]!).filter(Boolean);
  const payload: Payload = { input: undefined, output: undefined, isCut: false, facts: [] };
  const say = (name: string, value: unknown) => {
    if (value !== null && value !== undefined) payload.facts.push([name, value]);
  };
  for (const event of made) {
    switch (event.type) {
      case "run.started":
        payload.input = event.payload.input;
        say("model", event.payload.model);
        say("limits", event.payload.limits);
        break;
      case "run.completed":
        payload.output = event.payload.output;
        say("output_cut", event.payload.output_cut || null);
        say("usage", event.payload.usage);
        break;
      case "run.failed":
        payload.output = event.payload.error;
        break;
      case "run.cancelled":
      case "run.resumed":
      case "run.warning":
      case "context.compacted":
        payload.output = event.payload;
        break;
      case "memory.recalled":
        payload.input = event.payload.query;
        payload.output = event.payload.hits;
        break;
      case "llm.called": {
        const { content, tool_calls, duration_ms: _, ...facts } = event.payload;
        payload.output = tool_calls.length > 0 ? { content, tool_calls } : content;
        for (const [name, value] of Object.entries(facts)) say(name, value);
        break;
      }
      case "tool.called":
        payload.input = event.payload.args;
        say("effect", event.payload.effect);
        say("tool_call_id", event.payload.tool_call_id);
        break;
      case "tool.result":
        payload.output = event.payload.result;
        say("outcome", event.payload.outcome);
        payload.isCut = event.payload.truncated;
        break;
      case "step.started":
        break;
      case "step.completed":
        say("result_type", event.payload.result_type);
        break;
    }
    if (event.redaction.contains_secrets) say("contains_secrets", true);
  }
  say("span_id", span.id);
  say("events", span.events.map((seq) => `#${seq}`).join(" "));
  return payload;
}
