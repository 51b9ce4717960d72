// One run that tabs follow: its connection, and what came over it, so that a tab that comes later is
// told all of it.

import { Follower } from "./follower";
import { type Frame, isEvent, type Link, seqOf, type Topic } from "./frames";
import { Poller } from "./poller";

export type Mode = "stream" | "poll" | "pause";

export type Listener = {
  onFrames(frames: Frame[]): void;
  onLink(link: Link): void;
};

export class Feed {
  mode: Mode = "pause";
  private source: Follower | Poller | null = null;
  private readonly listeners = new Set<Listener>();
  /** All frames after the event `from`; deltas only of the answer in the making. */
  private frames: Frame[] = [];
  private unsent: Frame[] = [];
  private last: number;

  constructor(
    readonly topic: Topic,
    private from: number,
  ) {
    this.last = from;
  }

  get isIdle(): boolean {
    return this.listeners.size === 0;
  }

  get link(): Link {
    return this.source?.link ?? { kind: this.mode === "stream" ? "connecting" : "paused" };
  }

  /** Tells the listener all after the event `cursor`, then what comes. */
  add(listener: Listener, cursor: number): void {
    this.flush();
    this.listeners.add(listener);
    if (cursor < this.from) {
      // It knows less than what was kept: begin there. Others pass over what they have seen.
      this.from = this.last = cursor;
      this.frames = [];
      this.connect();
      return;
    }
    const known = this.frames.filter((frame) => seqOf(frame) > cursor || !isEvent(frame));
    if (known.length > 0) listener.onFrames(known);
    listener.onLink(this.link);
  }

  remove(listener: Listener): void {
    this.listeners.delete(listener);
  }

  set(mode: Mode): void {
    if (mode === this.mode) return;
    this.mode = mode;
    if (this.link.kind !== "finished" && this.link.kind !== "refused") this.connect();
  }

  retry(): void {
    if (this.link.kind === "waiting") this.source?.retry();
  }

  stop(): void {
    this.source?.stop();
    this.source = null;
  }

  private connect(): void {
    this.stop();
    const watcher = {
      onFrame: (frame: Frame) => this.take(frame),
      onLink: (link: Link) => {
        this.flush();
        for (const listener of this.listeners) listener.onLink(link);
      },
    };
    if (this.mode === "stream") this.source = new Follower(this.topic, this.last, watcher);
    else if (this.mode === "poll" && this.topic.runId !== null)
      this.source = new Poller(this.topic, this.last, watcher);
    else watcher.onLink({ kind: "paused" });
  }

  private take(frame: Frame): void {
    if (isEvent(frame)) {
      // The deltas before an event are in it, as far as they count.
      this.frames = this.frames.filter(isEvent);
      this.last = seqOf(frame);
    }
    // What a scope was told is in the lists that whoever comes later reads.
    if (this.topic.runId !== null) this.frames.push(frame);
    this.unsent.push(frame);
    if (this.unsent.length === 1) queueMicrotask(() => this.flush());
  }

  private flush(): void {
    if (this.unsent.length === 0) return;
    const frames = this.unsent;
    this.unsent = [];
    for (const listener of this.listeners) listener.onFrames(frames);
  }
}
