// A block of code: highlighted where it says its language and is not huge, and copied with one click.

import { lazy, memo, Suspense } from "react";
import { patient } from "~/app/patient";
import { CopyButton } from "~/ui/copy";

const HIGHLIGHT_MAX_CHARS = 50_000;

/** Read with the first code that is highlighted: most answers have none. */
const Highlighted = lazy(() => patient(() => import("./highlighted")));

type Props = { code: string; language: string | undefined };

export const CodeBlock = memo(function CodeBlock({ code, language }: Props) {
  const isHighlighted = language !== undefined && code.length <= HIGHLIGHT_MAX_CHARS;
  return (
    <div className="group relative rounded-control border border-line bg-sunken">
      <div className="absolute top-1 right-1 flex items-center gap-1 opacity-0 group-focus-within:opacity-100 group-hover:opacity-100">
        {language && <span className="text-meta text-muted">{language}</span>}
        <CopyButton text={code} />
      </div>
      <pre
        tabIndex={0}
        className="overflow-x-auto px-3.5 py-2.5 font-mono text-[12.5px] leading-[22px]"
      >
        <code>
          {isHighlighted ? (
            <Suspense fallback={code}>
              <Highlighted code={code} language={language} />
            </Suspense>
          ) : (
            code
          )}
        </code>
      </pre>
    </div>
  );
});
