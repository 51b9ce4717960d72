// Follows a run by asking for its events again and again: for runs beyond the connections that a
// browser has for one server (six with HTTP/1.1, all tabs together). It sees no words in the making.

import { retryAfterMs } from "~/api/error";
import { scopeHeaders } from "~/api/scope";
import type { RunEvent } from "~/api/types";
import { isTerminal, type Link, type RunWatcher, type Topic } from "./frames";
import { Rest } from "./rest";

const POLL_MS = 1_000;
const FAILED_MS = 5_000;
/** A page of events that takes longer comes over a connection that is dead. */
const ANSWER_MAX_MS = 20_000;

export class Poller {
  link: Link = { kind: "connecting" };
  private readonly stopped = new AbortController();
  private readonly rest = new Rest();

  constructor(
    private readonly topic: Topic,
    private cursor: number,
    private readonly watcher: RunWatcher,
  ) {
    void this.run();
  }

  stop(): void {
    this.stopped.abort();
    this.rest.end();
  }

  retry(): void {
    this.rest.end();
  }

  private async run(): Promise<void> {
    const { signal } = this.stopped;
    while (!signal.aborted) {
      const response = await this.ask();
      if (signal.aborted || this.link.kind === "finished") return;
      const status = response?.status ?? 0;
      if (status >= 400 && status < 500 && status !== 429) {
        return this.say({ kind: "refused", status });
      }
      const isWell = status === 200;
      const wait = isWell ? POLL_MS : ((response && retryAfterMs(response)) ?? FAILED_MS);
      this.say(
        isWell ? { kind: "live", restored: 0 } : { kind: "waiting", until: Date.now() + wait },
      );
      await this.rest.for(wait);
    }
  }

  /** Takes the next events; null where there was no answer. */
  private async ask(): Promise<Response | null> {
    try {
      const response = await fetch(
        `/api/runs/${this.topic.runId}/events?cursor=${this.cursor}&limit=500`,
        {
          headers: scopeHeaders(this.topic.scope),
          signal: AbortSignal.any([this.stopped.signal, AbortSignal.timeout(ANSWER_MAX_MS)]),
        },
      );
      if (!response.ok) return response;
      const { events }: { events: RunEvent[] } = await response.json();
      for (const event of events) {
        this.cursor = event.seq;
        this.watcher.onFrame({
          id: String(event.seq),
          event: event.type,
          data: JSON.stringify(event),
        });
        if (isTerminal(event.type)) this.say({ kind: "finished" });
      }
      return response;
    } catch {
      return null;
    }
  }

  private say(link: Link): void {
    if (link.kind === "live" && this.link.kind === "live") return;
    this.link = link;
    if (!this.stopped.signal.aborted) this.watcher.onLink(link);
  }
}
