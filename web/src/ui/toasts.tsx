// Short messages at the foot of the window, each with at most one thing to do about it.

import { useSyncExternalStore } from "react";
import { Button } from "./button";

type Toast = { id: number; text: string; action?: { name: string; run: () => void } };

const SHOWN_MS = 5_000;
let toasts: Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

/** Shows a message; the returned function takes it away. */
export function toast(text: string, action?: Toast["action"], shownMs = SHOWN_MS): () => void {
  const id = nextId++;
  set([...toasts, { id, text, ...(action && { action }) }]);
  const dismiss = () => set(toasts.filter((one) => one.id !== id));
  setTimeout(dismiss, shownMs);
  return dismiss;
}

function set(next: Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div
      role="status"
      className="pointer-events-none fixed inset-x-0 bottom-5 z-50 grid justify-items-center gap-2"
    >
      {shown.map(({ id, text, action }) => (
        <div
          key={id}
          className="pointer-events-auto flex animate-appear items-center gap-3 rounded-control border border-line bg-panel py-1.5 pr-1.5 pl-4 text-sm shadow-float"
        >
          {text}
          {action && (
            <Button
              look="ghost"
              className="text-accent"
              onClick={() => {
                action.run();
                set(toasts.filter((one) => one.id !== id));
              }}
            >
              {action.name}
            </Button>
          )}
        </div>
      ))}
    </div>
  );
}
