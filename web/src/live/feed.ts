// One thing that tabs follow, a run or the runs of a scope: what came of it, so that a tab that comes
// later is told all of it, and how it stands. It has no connection of its own.

import { type Frame, isEvent, isTerminal, type Link, seqOf, type Topic, topicName } from "./frames";

/** What comes this soon after a new connection was missed before. */
const RESTORED_MS = 400;

export type Listener = {
  onFrames(frames: Frame[]): void;
  onLink(link: Link): void;
};

export class Feed {
  link: Link = { kind: "connecting" };
  private readonly listeners = new Set<Listener>();
  /** All frames after the event `from`; deltas only of the answer in the making. */
  private frames: Frame[] = [];
  private unsent: Frame[] = [];
  /** The id of the last frame. */
  private last: string;
  /** Counts what comes right after a break; null at other times. */
  private missed: number | null = null;

  constructor(
    readonly topic: Topic,
    private from: number,
  ) {
    this.last = String(from);
  }

  /** Its topic, and where it begins: a connection is made for both. */
  get name(): string {
    return `${topicName(this.topic)}@${this.from}`;
  }

  /** The id of the last frame; null at the beginning. */
  get cursor(): string | null {
    return this.last === "0" ? null : this.last;
  }

  get isIdle(): boolean {
    return this.listeners.size === 0;
  }

  get isOver(): boolean {
    return this.link.kind === "finished" || this.link.kind === "refused";
  }

  /** Tells the listener all after the event `cursor`, then what comes. */
  add(listener: Listener, cursor: number): void {
    this.flush();
    this.listeners.add(listener);
    if (cursor < this.from) {
      // It knows less than what was kept: begin there. Others pass over what they have seen.
      this.from = cursor;
      this.last = String(cursor);
      this.frames = [];
      this.say({ kind: "connecting" });
      return;
    }
    const known = this.frames.filter((frame) => seqOf(frame) > cursor || !isEvent(frame));
    if (known.length > 0) listener.onFrames(known);
    listener.onLink(this.link);
  }

  remove(listener: Listener): void {
    this.listeners.delete(listener);
  }

  take(frame: Frame): void {
    if (isEvent(frame)) {
      // The deltas before an event are in it, as far as they count.
      this.frames = this.frames.filter(isEvent);
      if (this.missed !== null) this.missed += 1;
    }
    this.last = frame.id;
    // What a scope was told is in the lists that whoever comes later reads.
    if (this.topic.runId !== null) this.frames.push(frame);
    this.unsent.push(frame);
    if (this.unsent.length === 1) queueMicrotask(() => this.flush());
    if (isTerminal(frame.event)) this.say({ kind: "finished" });
  }

  /** A connection is being made for it. */
  begin(): void {
    if (this.link.kind === "paused") this.say({ kind: "connecting" });
  }

  pause(): void {
    if (this.link.kind !== "paused") this.say({ kind: "paused" });
  }

  /** It is connected. */
  opened(): void {
    const wasLost = this.link.kind === "waiting";
    if (this.link.kind !== "live") this.say({ kind: "live", restored: 0 });
    if (!wasLost) return;
    this.missed = 0;
    setTimeout(() => {
      if (this.link.kind === "live") this.say({ kind: "live", restored: this.missed ?? 0 });
      this.missed = null;
    }, RESTORED_MS);
  }

  say(link: Link): void {
    this.flush();
    this.link = link;
    for (const listener of this.listeners) listener.onLink(link);
  }

  private flush(): void {
    if (this.unsent.length === 0) return;
    const frames = this.unsent;
    this.unsent = [];
    for (const listener of this.listeners) listener.onFrames(frames);
  }
}
