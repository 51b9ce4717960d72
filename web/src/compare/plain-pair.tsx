// Two things side by side, of a left and a right run; one above the other where the window is narrow.

import type { ReactNode } from "react";
import { useWords } from "~/i18n";

export const COLUMNS = "grid grid-cols-2 gap-x-4 gap-y-2 max-md:grid-cols-1";

export type PlainPairProps = { left: string; right: string; label: string };

type Props = { left: ReactNode; right: ReactNode; label: string };

/** Two texts as they are, a dash where there is none. They scroll where they are long. */
export function PlainPair({ left, right, label }: Props) {
  const { t } = useWords();
  const sides = [
    [left, t("compare.left")],
    [right, t("compare.right")],
  ] as const;
  return sides.map(([text, side]) =>
    text === "" ? (
      <p key={side} className="px-3 py-2 text-sm text-faint">
        {t("compare.nothing")}
      </p>
    ) : (
      <section
        key={side}
        aria-label={`${label} · ${side}`}
        tabIndex={0}
        className="max-h-[420px] min-w-0 overflow-y-auto rounded-control bg-sunken px-3 py-2 text-sm whitespace-pre-wrap wrap-any"
      >
        {text}
      </section>
    ),
  );
}
