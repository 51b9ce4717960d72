// Which words of two texts differ. Pure.

import { diffWordsWithSpace } from "diff";

/** Longer than this, and finding the words that differ would be seen as a page that hangs. */
const PATIENCE_MS = 200;

export type Piece = { text: string; isOther: boolean };

/** Both texts in pieces, those marked that the other text does not have; null where they differ too
 * much to find out in time. */
export function differing(left: string, right: string): { left: Piece[]; right: Piece[] } | null {
  const changes = diffWordsWithSpace(left, right, { timeout: PATIENCE_MS });
  if (!changes) return null;
  const pieces = (skipped: "added" | "removed") =>
    changes
      .filter((change) => !change[skipped])
      .map(({ value, added, removed }) => ({ text: value, isOther: added || removed }));
  return { left: pieces("added"), right: pieces("removed") };
}
