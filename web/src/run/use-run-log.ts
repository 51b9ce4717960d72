// A run as it happens: its events so far, then what the stream brings, drawn at most once a frame.

import { useEffect, useMemo, useSyncExternalStore } from "react";
import { AGAIN_MS, waitOf } from "~/api/again";
import { isTransient } from "~/api/error";
import { eventsAfter } from "~/api/queries";
import { follow } from "~/live/follow";
import type { Link } from "~/live/frames";
import { RunLog } from "./log";

/** Drawing while nobody looks: often enough for the title, and cheap. */
const HIDDEN_FLUSH_MS = 200;

export type RunView = {
  log: RunLog;
  /** Changes whenever something in the log did. */
  version: number;
  link: Link;
  /** The events so far are still being read. */
  isLoading: boolean;
  error: unknown;
  reload: () => void;
};

export function useRunLog(runId: string): RunView {
  const source = useMemo(() => new RunSource(runId), [runId]);
  useEffect(() => source.open(), [source]);
  return useSyncExternalStore(source.subscribe, source.view);
}

class RunSource {
  private readonly log = new RunLog();
  private link: Link = { kind: "connecting" };
  private isLoading = true;
  private error: unknown = null;
  private unfollow: (() => void) | null = null;
  private closed = new AbortController();
  private readonly listeners = new Set<() => void>();
  private isScheduled = false;
  private snapshot: RunView = this.look();

  constructor(private readonly runId: string) {}

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly view = () => this.snapshot;

  open(): () => void {
    this.closed = new AbortController();
    void this.load();
    return () => {
      this.closed.abort();
      this.unfollow?.();
      this.unfollow = null;
    };
  }

  /** Reads what there is, then follows what comes, unless the run has ended. */
  private async load(): Promise<void> {
    const { signal } = this.closed;
    this.isLoading = true;
    this.error = null;
    this.changed();
    try {
      const add = (events: typeof this.log.events) => {
        for (const event of events) this.log.add(event);
        this.changed();
      };
      await eventsAfter(this.runId, this.log.last, add, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.error = error;
    }
    if (signal.aborted) return;
    this.isLoading = false;
    if (this.log.hasEnded) this.link = { kind: "finished" };
    else if (!this.error) this.follow();
    else if (isTransient(this.error)) this.loadAgain();
    this.changed();
  }

  /** Unless it is left, or loaded by hand, before. */
  private loadAgain(): void {
    const wait = Math.max(AGAIN_MS, waitOf(this.error));
    const timer = setTimeout(() => void this.load(), wait);
    this.unfollow = () => clearTimeout(timer);
  }

  private follow(): void {
    this.unfollow?.();
    this.unfollow = follow(this.runId, this.log.last, {
      onFrames: (frames) => {
        const isWhole = frames.map((frame) => this.log.take(frame)).every(Boolean);
        this.changed();
        if (isWhole || this.isLoading) return;
        // An event is missing: read on from what there is.
        this.unfollow?.();
        void this.load();
      },
      onLink: (link) => {
        this.link = link;
        this.changed();
      },
    });
  }

  private readonly reload = () => {
    this.unfollow?.();
    void this.load();
  };

  private changed(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    const flush = () => {
      this.isScheduled = false;
      this.snapshot = this.look();
      for (const listener of this.listeners) listener();
    };
    if (document.visibilityState === "hidden") setTimeout(flush, HIDDEN_FLUSH_MS);
    else requestAnimationFrame(flush);
  }

  private look(): RunView {
    return {
      log: this.log,
      version: this.log.version,
      link: this.link,
      isLoading: this.isLoading,
      error: this.error,
      reload: this.reload,
    };
  }
}
