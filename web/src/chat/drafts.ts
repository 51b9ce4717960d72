// What was written and not sent yet, by session and scope, in this browser.

import { scope, scopeName } from "~/api/scope";

const keyOf = (name: string) => `openintern.draft.${scopeName(scope())}.${name}`;

export function readDraft(name: string): string {
  try {
    return localStorage.getItem(keyOf(name)) ?? "";
  } catch {
    return "";
  }
}

export function keepDraft(name: string, text: string): void {
  try {
    if (text) localStorage.setItem(keyOf(name), text);
    else localStorage.removeItem(keyOf(name));
  } catch {
    // Storage is full or forbidden: the text is on the page all the same.
  }
}

export const forgetDraft = (name: string) => keepDraft(name, "");
