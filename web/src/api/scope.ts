// Whose data every request is about. What the credential says is fixed; the rest is chosen here.

import { useSyncExternalStore } from "react";
import type { Identity } from "./types";

export type Scope = { org_id: string; user_id: string; project_id: string | null };

const KEY = "openintern.scope";
const DEFAULT: Scope = { org_id: "org_default", user_id: "user_default", project_id: null };

let bounds: Partial<Scope> = {};
let chosen = read();
let current = within();
const listeners = new Set<() => void>();

export function scope(): Scope {
  return current;
}

export function useScope(): Scope {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}

export function choose(next: Scope): void {
  chosen = next;
  try {
    localStorage.setItem(KEY, JSON.stringify(next));
  } catch {
    // Storage is full or forbidden: the choice holds until the page is closed.
  }
  changed();
}

/** What the credential fixes. */
export function bind(identity: Identity): void {
  const fixed: Partial<Scope> = {};
  if (identity.org_id) fixed.org_id = identity.org_id;
  if (identity.user_id) fixed.user_id = identity.user_id;
  if (identity.project_id) fixed.project_id = identity.project_id;
  bounds = fixed;
  changed();
}

export function scopeHeaders(of: Scope): Record<string, string> {
  const headers: Record<string, string> = { "x-org-id": of.org_id, "x-user-id": of.user_id };
  if (of.project_id) headers["x-project-id"] = of.project_id;
  return headers;
}

/** One text for a scope: what is kept for one is never shown for another. */
export function scopeName(of: Scope): string {
  return [of.org_id, of.user_id, of.project_id ?? ""].join("/");
}

function changed(): void {
  const next = within();
  if (scopeName(next) === scopeName(current)) return;
  current = next;
  for (const listener of listeners) listener();
}

function within(): Scope {
  return { ...chosen, ...bounds };
}

function read(): Scope {
  try {
    return { ...DEFAULT, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return DEFAULT;
  }
}
