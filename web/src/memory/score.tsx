// Why a hit stands where it does: its place and value by words and by meaning, what each counts, and
// what moved the sum a little. The server stretches both sides before it adds them up, so that the
// parts are said, and only the sum is drawn.

import type { Explanation, Hit } from "~/api/types";
import { useWords } from "~/i18n";

export function Score({ hit }: { hit: Hit }) {
  const { t } = useWords();
  const { explain } = hit;
  if (!explain) return null;
  return (
    <div className="grid gap-1.5">
      <div className="flex items-center gap-3">
        <div aria-hidden className="h-2 grow overflow-hidden rounded-full bg-sunken">
          <div
            className="h-full bg-mark-llm"
            style={{ width: `${Math.min(1, hit.score) * 100}%` }}
          />
        </div>
        <span className="w-10 text-right text-sm font-semibold text-text tabular">
          {hit.score.toFixed(2)}
        </span>
      </div>
      <p className="flex flex-wrap gap-x-4 gap-y-0.5 text-meta text-muted tabular">
        <LegView name={t("score.words")} leg={explain.lexical} />
        <LegView name={t("score.vector")} leg={explain.vector} />
        <span>
          {t("score.importance")} ×{explain.importance_factor.toFixed(2)}
        </span>
        <span>
          {t("score.recency")} ×{explain.recency_factor.toFixed(2)}
        </span>
      </p>
    </div>
  );
}

function LegView({ name, leg }: { name: string; leg: Explanation["lexical"] }) {
  const { t } = useWords();
  if (leg.weight === 0) return null;
  const place = leg.rank == null ? t("score.unfound") : `#${leg.rank} (${leg.value.toFixed(2)})`;
  return (
    <span>
      {name} {place} · {t("score.weight", { w: leg.weight.toFixed(2) })}
    </span>
  );
}

/** The snippet with the words of the query that were found in it. */
export function Highlighted({ text, terms }: { text: string; terms: string[] }) {
  // `b:` marks pairs of characters; the stem of a word stands for all of it.
  const words = terms.map((term) => term.replace(/^\w:/, "")).filter((word) => word.length > 1);
  if (words.length === 0) return text;
  const pattern = new RegExp(`((?:${words.map(escaped).join("|")})[a-z0-9]*)`, "gi");
  return text.split(pattern).map((piece, place) =>
    place % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: pieces of a text that does not change
      <mark key={place} className="rounded-[2px] bg-warn-soft text-text">
        {piece}
      </mark>
    ) : (
      piece
    ),
  );
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
