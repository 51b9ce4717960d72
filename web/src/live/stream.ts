// One connection to a stream of server-sent events, until it ends. `fetch` rather than `EventSource`:
// that one sends no headers, sees no status, and does not notice a connection that has gone silent.

import { createParser } from "eventsource-parser";
import { retryAfterMs } from "~/api/error";
import { type Scope, scopeHeaders } from "~/api/scope";
import type { Frame } from "./frames";

/** The server says something at least every 15 s; after this long the connection is dead. */
export const SILENCE_MAX_MS = 34_500;
/** How often that is looked at, by the time of day: it goes on while a machine sleeps, timers do not. */
export const LOOK_MS = 2_000;

/** How a connection came to its end. */
export type End =
  | { kind: "closed" }
  | { kind: "finished" }
  | { kind: "refused"; status: number }
  | { kind: "lost"; retryAfterMs: number | null };

/** What is asked for, and after which frame. */
export type Place = { scope: Scope; query: string; lastId: string | null };

type Watcher = { onOpen(): void; onFrame(frame: Frame): void };

export async function readStream(
  { scope, query, lastId }: Place,
  signal: AbortSignal,
  watcher: Watcher,
): Promise<End> {
  const silent = new AbortController();
  const abort = () => silent.abort();
  signal.addEventListener("abort", abort);
  let heardAt = Date.now();
  const watchdog = setInterval(() => {
    if (Date.now() - heardAt > SILENCE_MAX_MS) abort();
  }, LOOK_MS);
  try {
    const response = await fetch(`/api/stream?${query}`, {
      headers: {
        ...scopeHeaders(scope),
        accept: "text/event-stream",
        ...(lastId && { "last-event-id": lastId }),
      },
      signal: silent.signal,
      cache: "no-store",
    });
    const end = endOf(response);
    if (end) return end;
    watcher.onOpen();
    const parser = createParser({
      onEvent: ({ id, event, data }) => {
        if (id && event) watcher.onFrame({ id, event, data });
      },
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { kind: "closed" };
      heardAt = Date.now();
      parser.feed(value);
    }
  } catch {
    return { kind: "lost", retryAfterMs: null };
  } finally {
    clearInterval(watchdog);
    signal.removeEventListener("abort", abort);
    silent.abort();
  }
}

/** What a response means that is no stream. */
function endOf(response: Response): End | null {
  if (response.status === 204) return { kind: "finished" };
  if (response.ok) return null;
  if (response.status === 429 || response.status >= 500) {
    return { kind: "lost", retryAfterMs: retryAfterMs(response) };
  }
  return { kind: "refused", status: response.status };
}
