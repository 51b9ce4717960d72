// All that is known of a run: its events without a gap, and the words of the answer in the making.
// No requests here, and no React.

import type { RunEvent } from "~/api/types";
import { type Frame, isEvent, isTerminal, seqOf } from "~/live/frames";

export class RunLog {
  /** In the order of `seq`: the event at place n has number n + 1. */
  readonly events: RunEvent[] = [];
  /** Words by step, until `llm.called` has them whole. */
  readonly drafts = new Map<string, string>();
  /** Grows with every change. */
  version = 0;
  private lastDelta = 0;

  get last(): number {
    return this.events.length;
  }

  get hasEnded(): boolean {
    const last = this.events.at(-1);
    return last !== undefined && isTerminal(last.type);
  }

  /** Adds an event; what is known already is passed over. False where one is missing before it. */
  add(event: RunEvent): boolean {
    if (event.seq <= this.last) return true;
    if (event.seq > this.last + 1) return false;
    this.events.push(event);
    this.lastDelta = 0;
    if (event.type === "llm.called" && event.step_id) this.drafts.delete(event.step_id);
    this.version += 1;
    return true;
  }

  /** Takes a frame of the stream. False where an event is missing before it. */
  take(frame: Frame): boolean {
    if (isEvent(frame)) return this.add(JSON.parse(frame.data));
    const seq = seqOf(frame);
    const n = Number(frame.id.slice(frame.id.indexOf(".") + 1));
    if (seq > this.last) return false;
    if (seq < this.last || n <= this.lastDelta) return true;
    this.lastDelta = n;
    const { step_id, text } = JSON.parse(frame.data) as { step_id: string; text?: string };
    const before = frame.event === "llm.reset" ? "" : (this.drafts.get(step_id) ?? "");
    this.drafts.set(step_id, before + (text ?? ""));
    this.version += 1;
    return true;
  }
}
