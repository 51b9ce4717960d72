// What a person has chosen for this browser. `public/boot.js` reads the same before the first paint.

import { useSyncExternalStore } from "react";

export type Language = "en" | "zh-CN";
export type Theme = "system" | "light" | "dark";

export type Preferences = {
  /** Null: as the browser says. */
  language: Language | null;
  theme: Theme;
  timeZone: "local" | "utc";
  density: "compact" | "comfortable";
  /** Shortcuts of a single key; WCAG 2.1.4 wants them to be switched off. */
  singleKeys: boolean;
  navigation: "wide" | "narrow";
};

const KEY = "openintern.preferences";
const DEFAULTS: Preferences = {
  language: null,
  theme: "system",
  timeZone: "local",
  density: "compact",
  singleKeys: true,
  navigation: "wide",
};

let current = read();
const listeners = new Set<() => void>();

export function preferences(): Preferences {
  return current;
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(subscribe, preferences);
}

export function prefer(changes: Partial<Preferences>): void {
  current = { ...current, ...changes };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // Storage is full or forbidden: the choice holds until the page is closed.
  }
  apply();
}

export function languageOf(chosen: Preferences): Language {
  return chosen.language ?? (navigator.language.startsWith("zh") ? "zh-CN" : "en");
}

export function isDark(chosen: Preferences): boolean {
  if (chosen.theme !== "system") return chosen.theme === "dark";
  return typeof matchMedia === "function" && matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Follows the system's theme and what other tabs choose. */
export function watchPreferences(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    // What is drawn by theme is drawn anew: the same choice means another.
    current = { ...current };
    apply();
  });
  addEventListener("storage", (event) => {
    if (event.key !== KEY) return;
    current = read();
    apply();
  });
}

function apply(): void {
  document.documentElement.classList.toggle("dark", isDark(current));
  document.documentElement.lang = languageOf(current);
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function read(): Preferences {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return DEFAULTS;
  }
}
