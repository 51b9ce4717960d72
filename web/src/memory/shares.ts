// What a score is made of: how much of the question's words a hit has, and how near its meaning is,
// each times its weight. Pure.

import type { Hit } from "~/api/types";

export type Share = {
  /** 0 to 1. */
  value: number;
  weight: number;
  /** What it adds to the score. */
  part: number;
};

/** The two parts of a score; they sum to it. The server says the nearness, and the score itself: the
 * rest of it is the words'. */
export function sharesOf({ score, explain }: Hit): { words: Share; meaning: Share } | null {
  if (!explain) return null;
  const { lexical, vector } = explain;
  const nearness = Math.min(1, Math.max(0, vector.value));
  const near = Math.min(score, nearness * vector.weight);
  const said = score - near;
  return {
    words: {
      value: lexical.weight > 0 ? Math.min(1, said / lexical.weight) : 0,
      weight: lexical.weight,
      part: said,
    },
    meaning: { value: nearness, weight: vector.weight, part: near },
  };
}
