// Forgetting a memory, with ten seconds to think again: it is deleted only when they are over, since
// what is deleted is gone for good. Leaving the page deletes it at once.

import { useSyncExternalStore } from "react";
import { answered, api } from "~/api/client";
import { scope, scopeHeaders } from "~/api/scope";
import { toast } from "~/ui/toasts";

export const UNDO_MS = 10_000;

type Words = { going: string; undo: string };
type Pending = { timer: ReturnType<typeof setTimeout>; headers: Record<string, string> };

const pending = new Map<string, Pending>();
const listeners = new Set<() => void>();
let ids: ReadonlySet<string> = new Set();

/** Memories that are about to be forgotten: lists leave them out. */
export function useForgetting(): ReadonlySet<string> {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => ids,
  );
}

export function forget(id: string, words: Words, onGone: () => void): void {
  const headers = scopeHeaders(scope());
  const timer = setTimeout(async () => {
    try {
      const params = { path: { id } };
      await answered(api.DELETE("/api/memories/{id}", { params, headers }));
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error));
    }
    drop(id);
    onGone();
  }, UNDO_MS);
  pending.set(id, { timer, headers });
  changed();
  toast(
    words.going,
    {
      name: words.undo,
      run: () => {
        clearTimeout(timer);
        drop(id);
      },
    },
    UNDO_MS,
  );
}

function drop(id: string): void {
  pending.delete(id);
  changed();
}

function changed(): void {
  ids = new Set(pending.keys());
  for (const listener of listeners) listener();
}

addEventListener("pagehide", () => {
  for (const [id, { headers }] of pending) {
    void fetch(`/api/memories/${id}`, { method: "DELETE", headers, keepalive: true });
  }
});
