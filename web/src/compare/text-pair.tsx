// Two texts side by side, the words marked that only one of them has.

import { useMemo } from "react";
import { useWords } from "~/i18n";
import { PlainPair, type PlainPairProps } from "./plain-pair";
import { differing, type Piece } from "./words";

export default function TextPair({ left, right, label }: PlainPairProps) {
  const { t } = useWords();
  const found = useMemo(() => differing(left, right), [left, right]);
  // Beside nothing all of it differs: marks would say nothing.
  if (!left || !right) return <PlainPair left={left} right={right} label={label} />;
  if (!found) {
    return (
      <>
        <p className="col-span-full text-meta text-muted">{t("compare.unmarked")}</p>
        <PlainPair left={left} right={right} label={label} />
      </>
    );
  }
  return (
    <PlainPair
      left={<Pieces of={found.left} as="del" />}
      right={<Pieces of={found.right} as="ins" />}
      label={label}
    />
  );
}

const LOOKS = {
  del: "rounded-[3px] bg-err-soft text-err decoration-1",
  ins: "rounded-[3px] bg-ok-soft text-ok underline decoration-1 underline-offset-2",
};

function Pieces({ of, as: Mark }: { of: Piece[]; as: "del" | "ins" }) {
  return of.map(({ text, isOther }, place) =>
    isOther ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: a text has no other names for its pieces
      <Mark key={place} className={LOOKS[Mark]}>
        {text}
      </Mark>
    ) : (
      text
    ),
  );
}
