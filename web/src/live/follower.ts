// Follows one run across broken connections: connects again where it was, waits longer each time,
// and says how it stands. It knows nothing of tabs.

import { type Frame, isEvent, isTerminal, type Link, type RunWatcher, type Topic } from "./frames";
import { Rest } from "./rest";
import { readStream } from "./stream";

const WAIT_FIRST_MS = 500;
const WAIT_MAX_MS = 15_000;
/** What comes this soon after a new connection was missed before. */
const RESTORED_MS = 400;

export class Follower {
  link: Link = { kind: "connecting" };
  private lastId: string | null;
  private attempts = 0;
  private wasLost = false;
  private hasEnded = false;
  private readonly stopped = new AbortController();
  private readonly rest = new Rest();

  constructor(
    private readonly topic: Topic,
    cursor: number,
    private readonly watcher: RunWatcher,
  ) {
    this.lastId = cursor > 0 ? String(cursor) : null;
    void this.run();
  }

  stop(): void {
    this.stopped.abort();
    this.rest.end();
  }

  /** Does not wait any longer. */
  retry(): void {
    this.rest.end();
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    while (!signal.aborted) {
      const end = await readStream(this.topic, this.lastId, signal, {
        onOpen: () => this.opened(),
        onFrame: (frame) => this.take(frame),
      });
      if (signal.aborted) return;
      if (end.kind === "finished" || this.hasEnded) return this.say({ kind: "finished" });
      if (end.kind === "refused") return this.say(end);
      this.wasLost = true;
      await this.wait(end.kind === "lost" ? end.retryAfterMs : null);
    }
  }

  private opened(): void {
    this.attempts = 0;
    this.say({ kind: "live", restored: 0 });
    if (!this.wasLost) return;
    this.wasLost = false;
    this.missed = 0;
    setTimeout(() => {
      if (this.link.kind === "live") this.say({ kind: "live", restored: this.missed ?? 0 });
      this.missed = null;
    }, RESTORED_MS);
  }

  /** Counts what comes right after a break; null at other times. */
  private missed: number | null = null;

  private take(frame: Frame): void {
    this.lastId = frame.id;
    if (this.missed !== null && isEvent(frame)) this.missed += 1;
    if (isTerminal(frame.event)) this.hasEnded = true;
    this.watcher.onFrame(frame);
  }

  private async wait(askedMs: number | null): Promise<void> {
    const bound = Math.min(WAIT_FIRST_MS * 2 ** this.attempts, WAIT_MAX_MS);
    this.attempts += 1;
    const ms = askedMs ?? bound / 2 + (Math.random() * bound) / 2;
    this.say({ kind: "waiting", until: Date.now() + ms });
    await this.rest.for(ms);
  }

  private say(link: Link): void {
    this.link = link;
    if (!this.stopped.signal.aborted) this.watcher.onLink(link);
  }
}
