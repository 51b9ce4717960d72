// Why a hit stands where it does: what its score is made of, and below it what the order of the hits
// is made of, which knows more than the score.

import type { Explanation, Hit } from "~/api/types";
import { useWords } from "~/i18n";
import { type Share, sharesOf } from "./shares";

export function Score({ hit }: { hit: Hit }) {
  const { t } = useWords();
  const shares = sharesOf(hit);
  if (!shares || !hit.explain) return null;
  return (
    <div className="grid gap-1.5">
      <div className="flex items-center gap-3">
        <div aria-hidden className="flex h-2 grow overflow-hidden rounded-full bg-sunken">
          <Part share={shares.words} colour="bg-mark-tool" />
          <Part share={shares.meaning} colour="bg-mark-llm" />
        </div>
        <span className="w-10 text-right text-sm font-semibold text-text tabular">
          {hit.score.toFixed(2)}
        </span>
      </div>
      <p className="flex flex-wrap gap-x-4 gap-y-0.5 text-meta text-muted tabular">
        <Term
          name={t("score.words")}
          hint={t("score.words.hint")}
          share={shares.words}
          colour="bg-mark-tool"
        />
        <Term
          name={t("score.vector")}
          hint={t("score.vector.hint")}
          share={shares.meaning}
          colour="bg-mark-llm"
        />
      </p>
      <Order explain={hit.explain} />
    </div>
  );
}

const Part = ({ share, colour }: { share: Share; colour: string }) => (
  <div className={colour} style={{ width: `${share.part * 100}%` }} />
);

type TermProps = { name: string; hint: string; share: Share; colour: string };

/** One part of the score: how much of it there is, times its weight. */
function Term({ name, hint, share, colour }: TermProps) {
  if (share.weight === 0) return null;
  return (
    <span title={hint} className="inline-flex items-center gap-1.5">
      <span aria-hidden className={`size-2 rounded-full ${colour}`} />
      {name} {share.value.toFixed(2)} × {share.weight.toFixed(2)}
    </span>
  );
}

/** Why it stands in this place: both rankings, and what moved their sum a little. */
function Order({ explain }: { explain: Explanation }) {
  const { t } = useWords();
  const place = ({ rank, value }: Explanation["lexical"]) =>
    rank == null ? t("score.unfound") : `#${rank} (${value.toFixed(2)})`;
  return (
    <p
      title={t("score.order.hint")}
      className="flex flex-wrap gap-x-4 gap-y-0.5 text-meta text-faint tabular"
    >
      <span>
        {t("score.order")} {explain.fused_score.toFixed(2)}:
      </span>
      <span>
        {t("score.words")} {place(explain.lexical)}
      </span>
      {explain.vector.weight > 0 && (
        <span>
          {t("score.vector")} {place(explain.vector)}
        </span>
      )}
      <span>
        {t("score.importance")} ×{explain.importance_factor.toFixed(2)}
      </span>
      <span>
        {t("score.recency")} ×{explain.recency_factor.toFixed(2)}
      </span>
    </p>
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
