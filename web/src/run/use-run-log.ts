// A run as it happens: what there is of it so far, then what the stream brings, drawn at most once a
// frame. What is kept of it, all events or the spans alone, whoever looks decides.

import { useEffect, useMemo, useSyncExternalStore } from "react";
import { AGAIN_MS, waitOf } from "~/api/again";
import { isTransient } from "~/api/error";
import { eventsAfter, tracePages } from "~/api/queries";
import { follow } from "~/live/follow";
import type { Frame, Link } from "~/live/frames";
import { RunLog } from "./log";
import { Spans } from "./spans";

/** Drawing while nobody looks: often enough for the title, and cheap. */
const HIDDEN_FLUSH_MS = 200;

/** What is kept of a run; it grows in place. */
type Kept = {
  /** Grows with every change. */
  readonly version: number;
  /** The number of the last event that it has. */
  readonly last: number;
  readonly hasEnded: boolean;
  /** Takes a frame of the stream. False where an event is missing before it. */
  take(frame: Frame): boolean;
};

type Kind<K extends Kept> = {
  make(): K;
  /** Reads what there is; `onPart` is told of each part. */
  read(kept: K, runId: string, onPart: () => void, signal: AbortSignal): Promise<void>;
};

export type RunView<K extends Kept = RunLog> = {
  /** What is kept of it. */
  log: K;
  version: number;
  link: Link;
  /** What there is so far is still being read. */
  isLoading: boolean;
  error: unknown;
  reload: () => void;
};

const EVENTS: Kind<RunLog> = {
  make: () => new RunLog(),
  async read(log, runId, onPart, signal) {
    const add = (events: RunLog["events"]) => {
      for (const event of events) log.add(event);
      onPart();
    };
    await eventsAfter(runId, log.last, add, signal);
  },
};

const SPANS: Kind<Spans> = {
  make: () => new Spans(),
  async read(spans, runId, onPart, signal) {
    for await (const page of tracePages(runId, signal)) {
      spans.put(page);
      onPart();
    }
  },
};

/** All events of a run, and the words of the answer in the making. */
export const useRunLog = (runId: string): RunView => useRun(runId, EVENTS);

/** The spans of a run, without what they took and gave. */
export const useRunTrace = (runId: string): RunView<Spans> => useRun(runId, SPANS);

function useRun<K extends Kept>(runId: string, kind: Kind<K>): RunView<K> {
  const source = useMemo(() => new RunSource(runId, kind), [runId, kind]);
  useEffect(() => source.open(), [source]);
  return useSyncExternalStore(source.subscribe, source.view);
}

class RunSource<K extends Kept> {
  private readonly log: K;
  private link: Link = { kind: "connecting" };
  private isLoading = true;
  private error: unknown = null;
  private unfollow: (() => void) | null = null;
  private closed = new AbortController();
  private readonly listeners = new Set<() => void>();
  private isScheduled = false;
  private snapshot: RunView<K>;

  constructor(
    private readonly runId: string,
    private readonly kind: Kind<K>,
  ) {
    this.log = kind.make();
    this.snapshot = this.look();
  }

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
      await this.kind.read(this.log, this.runId, () => this.changed(), signal);
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

  private look(): RunView<K> {
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
