// The spans of a run: as the server made them of its events so far, then of the events that come.
//
// Events are stamped when they are committed, several at a time, so that stamps alone would give bars
// of no length. What a step did it did in order, and says how long each part took: from that, and the
// stamps as bounds, the bars are laid out, here as there (`crates/server/src/spans.rs`).

import {
  hasEnded,
  type RunEvent,
  type SpanKind,
  type TracePage,
  type TraceSpan,
} from "~/api/types";
import { type Frame, isEvent } from "~/live/frames";

export type Span = {
  id: string;
  parent: string | null;
  kind: SpanKind;
  /** As the server names it: an agent, a model, a tool, the code of a note. */
  name: string;
  step: number | null;
  /** Milliseconds since 1970; `end` is null while it goes on. */
  start: number;
  end: number | null;
  isError: boolean;
  tokens: number | null;
  costUsd: number | null;
  /** Memories that a search found. */
  hits: number | null;
  /** The last event that it is made of so far. */
  lastSeq: number;
};

/** Spans, in the order in which they began; everything stays where it was put. */
export class Spans {
  readonly all: Span[] = [];
  /** Grows with every change. */
  version = 0;
  /** The number of the last event that they are made of. */
  last = 0;
  hasEnded = false;
  private readonly byId = new Map<string, Span>();
  private step: Span | null = null;
  /** Where the next part of the step begins. */
  private clock = 0;

  get(id: string): Span | undefined {
    return this.byId.get(id);
  }

  /** Takes a page of the trace; the last one says how far all of them go. */
  put({ spans, status, last_seq, next_cursor }: TracePage): void {
    for (const span of spans) this.place(spanOf(span));
    this.version += 1;
    if (next_cursor != null) return;
    this.last = last_seq;
    this.hasEnded = hasEnded(status);
    this.step = this.all.findLast(({ kind, end }) => kind === "step" && end === null) ?? null;
    const ends = this.all.slice(this.step ? this.all.indexOf(this.step) : this.all.length);
    this.clock = ends.reduce((at, { start, end }) => Math.max(at, end ?? start), 0);
  }

  /** Takes a frame of the stream. False where an event is missing before it. */
  take(frame: Frame): boolean {
    return !isEvent(frame) || this.add(JSON.parse(frame.data));
  }

  /** Takes the next event; what is known already is passed over. False where one is missing before it. */
  add(event: RunEvent): boolean {
    if (event.seq <= this.last) return true;
    if (event.seq > this.last + 1) return false;
    this.last = event.seq;
    this.version += 1;
    this.tell(event, Date.parse(event.ts));
    return true;
  }

  private tell(event: RunEvent, at: number): void {
    switch (event.type) {
      case "run.started":
        this.open(event, "run", event.agent_id, at);
        return;
      case "run.resumed":
        this.note(event, event.type, at);
        this.step = null;
        return;
      case "run.warning":
        this.note(event, event.payload.code, at);
        return;
      case "context.compacted":
        this.note(event, event.type, at);
        return;
      case "step.started":
        this.step = this.reopened(event) ?? this.open(event, "step", event.step_id ?? "", at);
        this.clock = at;
        return;
      case "memory.recalled": {
        const { hits, duration_ms } = event.payload;
        const span = this.part(event, eventSpan(event.seq), "memory", "recall", duration_ms, at);
        span.hits = hits.length;
        return;
      }
      case "llm.called": {
        const { provider, model, duration_ms, usage, cost_usd } = event.payload;
        // One with which the runtime helps itself speaks of the run, and is none of a step.
        const id = event.step_id ? event.span_id : eventSpan(event.seq);
        const span = this.part(event, id, "llm", `${provider}/${model}`, duration_ms, at);
        span.tokens = usage.total_tokens;
        span.costUsd = cost_usd;
        const run = this.all[0]!;
        run.tokens = (run.tokens ?? 0) + usage.total_tokens;
        run.costUsd = (run.costUsd ?? 0) + cost_usd;
        return;
      }
      case "tool.called":
        // One that is known is called again by the next worker.
        if (this.reopened(event)) return;
        this.open(event, "tool", event.payload.tool, Math.max(at, this.clock));
        return;
      case "tool.result": {
        const span = this.byId.get(event.span_id);
        if (!span) return;
        span.start = Math.max(this.clock, at - event.payload.duration_ms);
        span.isError = event.payload.is_error;
        this.close(span, event, at);
        return;
      }
      case "step.completed": {
        const step = this.byId.get(event.span_id);
        if (step) this.close(step, event, Math.max(at, this.clock));
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
    if (this.step && at - ms < this.clock) this.shift(this.clock - (at - ms));
    const span = this.open(event, kind, name, this.step ? this.clock : at - ms, id);
    span.end = span.start + ms;
    this.clock = span.end;
    return span;
  }

  /** The step began earlier than its stamp says, by as much as its first parts took. */
  private shift(ms: number): void {
    if (!this.step) return;
    const first = this.all.lastIndexOf(this.step);
    const bound = this.all[first - 1]?.end ?? 0;
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
    return this.place({
      id,
      // What has no span to itself stands under the one that it speaks of.
      parent: id === event.span_id ? (event.parent_span_id ?? null) : event.span_id,
      kind,
      name,
      step: stepOf(event),
      start,
      end: null,
      isError: false,
      tokens: null,
      costUsd: null,
      hits: null,
      lastSeq: event.seq,
    });
  }

  /** Puts a span at the end, or in place of the one of its name. */
  private place(span: Span): Span {
    const known = this.byId.get(span.id);
    if (known) return Object.assign(known, span);
    this.all.push(span);
    this.byId.set(span.id, span);
    return span;
  }

  /** A span that another worker goes on with. */
  private reopened(event: RunEvent): Span | null {
    const span = this.byId.get(event.span_id);
    if (!span) return null;
    span.lastSeq = event.seq;
    span.end = null;
    return span;
  }

  private close(span: Span, event: RunEvent, at: number): void {
    span.lastSeq = event.seq;
    span.end = Math.max(at, span.start);
    this.clock = span.end;
  }

  private note(event: RunEvent, name: string, at: number): void {
    this.open(event, "note", name, at, eventSpan(event.seq)).end = at;
  }

  private finish(event: RunEvent, at: number): void {
    this.hasEnded = true;
    const run = this.all[0];
    if (!run) return;
    run.lastSeq = event.seq;
    run.isError = event.type === "run.failed";
    for (const span of this.all) {
      // What was still going on has been dropped with the run.
      if (span.end === null) span.end = Math.max(at, span.start);
    }
  }
}

/** What has no span of its own is named by the number of its event. */
const eventSpan = (seq: number) => seq.toString(16).padStart(16, "0");

const stepOf = ({ step_id }: RunEvent) => (step_id ? Number(step_id.slice("step_".length)) : null);

function spanOf(span: TraceSpan): Span {
  return {
    id: span.span_id,
    parent: span.parent_span_id ?? null,
    kind: span.kind,
    name: span.name,
    step: span.step ?? null,
    start: Date.parse(span.started_at),
    end: span.ended_at ? Date.parse(span.ended_at) : null,
    isError: span.status === "error",
    tokens: span.usage?.total_tokens ?? null,
    costUsd: span.cost_usd ?? null,
    hits: span.hits ?? null,
    lastSeq: span.last_seq,
  };
}
