// One connection for several runs of a scope, or for what its runs do, across breaks: it connects again
// where each of them was, and waits longer each time. It knows nothing of tabs.

import { type Scope, scopeHeaders } from "~/api/scope";
import type { Feed } from "./feed";
import type { Frame } from "./frames";
import { Rest } from "./rest";
import { type Place, readStream } from "./stream";

const WAIT_FIRST_MS = 500;
const WAIT_MAX_MS = 15_000;
/** Whether a run can be followed is answered within so long. */
const ANSWER_MAX_MS = 20_000;

export class Follower {
  private attempts = 0;
  private readonly scope: Scope;
  /** By run, and by null what runs do; each under the name that it had when this began. */
  private readonly feeds: Map<string | null, { feed: Feed; name: string }>;
  private readonly stopped = new AbortController();
  private readonly rest = new Rest();

  /** Of one scope: feeds of runs, or the one of what its runs do. */
  constructor(feeds: [Feed, ...Feed[]]) {
    this.scope = feeds[0].topic.scope;
    this.feeds = new Map(feeds.map((feed) => [feed.topic.runId, { feed, name: feed.name }]));
    void this.run();
  }

  /** Whether it goes on with these, and with no others. */
  serves(feeds: readonly Feed[]): boolean {
    const names = feeds.map(({ name }) => name);
    const left = [...this.feeds.values()].filter(({ feed }) => !feed.isOver);
    return left.length === names.length && left.every(({ name }) => names.includes(name));
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
    for (const feed of this.left()) feed.begin();
    while (!signal.aborted && this.left().length > 0) {
      const end = await readStream(this.place(), signal, {
        onOpen: () => this.opened(),
        onFrame: (frame) => this.take(frame),
      });
      if (signal.aborted) return;
      if (end.kind === "finished") {
        for (const feed of this.left()) feed.say({ kind: "finished" });
      } else if (end.kind === "refused") await this.refused(end.status);
      else await this.wait(end.kind === "lost" ? end.retryAfterMs : null);
    }
  }

  private left(): Feed[] {
    return [...this.feeds.values()].map(({ feed }) => feed).filter((feed) => !feed.isOver);
  }

  private place(): Place {
    const news = this.feeds.get(null)?.feed;
    if (news) return { scope: this.scope, query: "scope=runs", lastId: news.cursor };
    const runs = this.left().map(({ topic, cursor }) =>
      cursor === null ? `run=${topic.runId}` : `run=${topic.runId}:${cursor}`,
    );
    return { scope: this.scope, query: runs.join("&"), lastId: null };
  }

  private opened(): void {
    this.attempts = 0;
    for (const feed of this.left()) feed.opened();
  }

  /** The ids of frames of runs name their run. */
  private take(frame: Frame): void {
    if (this.stopped.signal.aborted) return;
    const end = frame.id.indexOf(":");
    const runId = end < 0 ? null : frame.id.slice(0, end);
    this.feeds.get(runId)?.feed.take({ ...frame, id: frame.id.slice(end + 1) });
  }

  /** One that cannot be followed stops all: the others go on without it. */
  private async refused(status: number): Promise<void> {
    const feeds = this.left();
    if (feeds.length === 1) return feeds[0]!.say({ kind: "refused", status });
    await Promise.all(
      feeds.map(async (feed) => {
        const alone = await this.statusOf(feed);
        const isRefused = alone >= 400 && alone < 500 && alone !== 429;
        if (isRefused) feed.say({ kind: "refused", status: alone });
      }),
    );
    if (this.left().length === feeds.length) await this.wait(null);
  }

  /** What the server says of a run and a place in it; 0 where it says nothing. */
  private async statusOf({ topic, cursor }: Feed): Promise<number> {
    const seq = Number.parseInt(cursor ?? "0", 10);
    const signal = AbortSignal.any([this.stopped.signal, AbortSignal.timeout(ANSWER_MAX_MS)]);
    const headers = scopeHeaders(this.scope);
    return fetch(`/api/runs/${topic.runId}/events?cursor=${seq}&limit=1`, { headers, signal }).then(
      ({ status }) => status,
      () => 0,
    );
  }

  private async wait(askedMs: number | null): Promise<void> {
    const bound = Math.min(WAIT_FIRST_MS * 2 ** this.attempts, WAIT_MAX_MS);
    this.attempts += 1;
    const ms = askedMs ?? bound / 2 + (Math.random() * bound) / 2;
    for (const feed of this.left()) feed.say({ kind: "waiting", until: Date.now() + ms });
    await this.rest.for(ms);
  }
}
