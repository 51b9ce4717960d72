// What the warnings of a run are called, in the language of the page.

import type { Translate } from "~/i18n";

const CODES = [
  "model_attempt_failed",
  "output_invalid",
  "answer_cut",
  "tool_left_out",
  "price_unknown",
  "context_length_exceeded",
  "memory_unavailable",
  "history_summary_failed",
  "context_summary_failed",
  "cache_lost",
  "model_switched",
  "model_waiting",
] as const;

/** The code itself, where it is newer than the page. */
export function warningName(t: Translate, code: string): string {
  const known = CODES.find((one) => one === code);
  return known ? t(`warning.${known}`) : code;
}
