import { expect, test } from "vitest";
import type { Hit } from "~/api/types";
import { sharesOf } from "~/memory/shares";

const hit = (score: number, words: number, meaning: number, nearness: number): Hit => ({
  id: "mem_1",
  snippet: "",
  score,
  type: "core",
  created_at: "2026-01-01T00:00:00.000Z",
  explain: {
    lexical: { rank: 1, value: 9.3, weight: words },
    vector: { rank: 2, value: nearness, weight: meaning },
    matched_terms: [],
    fused_score: 0.9,
    importance_factor: 1,
    recency_factor: 1,
    vector_scan: "exact",
  },
});

const check = (of: Hit, want: [words: number[], meaning: number[]]) => {
  const { words, meaning } = sharesOf(of)!;
  for (const [share, [value, part]] of [
    [words, want[0]],
    [meaning, want[1]],
  ] as const) {
    expect(share.value).toBeCloseTo(value!);
    expect(share.part).toBeCloseTo(part!);
  }
  expect(words.part + meaning.part).toBeCloseTo(of.score);
};

test("a score is the sum of its parts", () => {
  check(hit(0.8, 0.6, 0.4, 0.5), [
    [1, 0.6],
    [0.5, 0.2],
  ]);
  check(hit(0.5, 1, 0, 0), [
    [0.5, 0.5],
    [0, 0],
  ]);
});

test("a score that is held to that of the hit before has no negative part", () => {
  check(hit(0.1, 0.2, 0.8, 0.9), [
    [0, 0],
    [0.9, 0.1],
  ]);
});
