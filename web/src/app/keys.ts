// What a key is for: shared by everything that listens to keys.

import { preferences } from "~/preferences";

export const modifier = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl ";

/** Whether a single key is a shortcut here: not in a field, not with a modifier, not switched off. */
export function isSingleKey(event: KeyboardEvent | React.KeyboardEvent): boolean {
  if (event.metaKey || event.ctrlKey || event.altKey) return false;
  if (!preferences().singleKeys || event.defaultPrevented) return false;
  const target = event.target as HTMLElement;
  return !target.closest("input, textarea, select, [contenteditable], [role=dialog]");
}
