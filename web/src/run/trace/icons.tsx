// The marks of the kinds of spans, as one sprite: a row uses them by name.

import type { SpanKind } from "~/api/types";

const SHAPES: Record<SpanKind, string> = {
  run: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM8 6.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3Z",
  step: "M8 2.5 2.5 5.5 8 8.5l5.5-3ZM2.5 8.2 8 11.2l5.5-3M2.5 10.7 8 13.7l5.5-3",
  memory:
    "M13 4.2c0 1-2.2 1.7-5 1.7S3 5.2 3 4.200s2.2-1.7 5-1.7 5 .7 5 1.700ZM3 4.200v7.600c0 1 2.2 1.7 5 1.700s5-.7 5-1.700V4.200M3 8c0 1 2.2 1.7 5 1.700s5-.7 5-1.7",
  llm: "M3.5 6.500h9v6h-9ZM8 6.500v-3M6.5 3.500h3M6.2 9v1M9.8 9v1M1.8 9v1.500M14.2 9v1.5",
  tool: "M9.9 4.300a.7.7 0 0 0 0 .9l1 1a.7.7 0 0 0 .9 0l2.3-2.300a3.8 3.8 0 0 1-5 5L4.6 13.400a1.4 1.4 0 0 1-2-2l4.5-4.500a3.8 3.8 0 0 1 5-5Z",
  note: "M8 2.500a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM8 7.500v3.200M8 5.200v.2",
};

export function SpanSprite() {
  return (
    <svg aria-hidden className="absolute size-0">
      {Object.entries(SHAPES).map(([kind, path]) => (
        <symbol key={kind} id={`span-${kind}`} viewBox="0 0 16 16">
          <path
            d={path}
            fill="none"
            stroke="currentColor"
            strokeWidth="1.3"
            strokeLinecap="round"
            strokeLinejoin="round"
          />
        </symbol>
      ))}
    </svg>
  );
}

export function SpanIcon({ kind }: { kind: SpanKind }) {
  return (
    <svg className="kind" width="15" height="15" aria-hidden>
      <use href={`#span-${kind}`} />
    </svg>
  );
}
