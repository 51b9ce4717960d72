// The whole run in forty pixels: a lane for each kind, errors in red, and which part is in sight.

import { type PointerEvent, useEffect, useRef } from "react";
import type { SpanKind } from "~/api/types";
import { useWords } from "~/i18n";
import { isDark, usePreferences } from "~/preferences";
import type { Span } from "../spans";
import type { Axis } from "./axis";

const HEIGHT = 40;
const LANES: SpanKind[] = ["llm", "tool", "memory"];
const LANE_HEIGHT = 7;
const LANE_STEP = 10;
const ERROR_TOP = 33;

type Props = {
  spans: readonly Span[];
  version: number;
  /** All of the run. */
  whole: Axis;
  /** What is in sight. */
  sight: Axis;
  now: number;
  onPick: (at: number) => void;
};

export function Minimap({ spans, version, whole, sight, now, onPick }: Props) {
  const { t } = useWords();
  const canvas = useRef<HTMLCanvasElement>(null);
  const dark = isDark(usePreferences());

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours follow the theme
  useEffect(() => {
    const element = canvas.current!;
    const draw = () => drawSpans(element, spans, whole, now);
    draw();
    const observer = new ResizeObserver(draw);
    observer.observe(element);
    return () => observer.disconnect();
  }, [spans, version, whole.from, whole.to, dark]);

  const length = whole.to - whole.from;
  const percent = (at: number) => Math.min(100, Math.max(0, ((at - whole.from) / length) * 100));
  const pick = (event: PointerEvent) => {
    if (event.buttons !== 1) return;
    const { left, width } = canvas.current!.getBoundingClientRect();
    onPick(whole.from + ((event.clientX - left) / width) * length);
  };
  return (
    <div
      className="relative mx-4 my-1 h-10 cursor-crosshair touch-none"
      onPointerDown={pick}
      onPointerMove={pick}
    >
      <canvas ref={canvas} role="img" aria-label={t("trace.minimap")} className="size-full" />
      <span
        aria-hidden
        className="pointer-events-none absolute inset-y-0 min-w-0.5 rounded-[3px] border border-control bg-control/15"
        style={{
          left: `${percent(sight.from)}%`,
          width: `${percent(sight.to) - percent(sight.from)}%`,
        }}
      />
    </div>
  );
}

function drawSpans(canvas: HTMLCanvasElement, spans: readonly Span[], axis: Axis, now: number) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.width = width * scale;
  canvas.height = HEIGHT * scale;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--mark-${name}`).trim();
  const x = (at: number) => ((at - axis.from) / (axis.to - axis.from)) * width;
  const draw = (span: Span, top: number, height: number) => {
    const left = x(span.start);
    context.fillRect(left, top, Math.max(1, x(span.end ?? now) - left), height);
  };
  for (const [place, kind] of LANES.entries()) {
    context.fillStyle = colour(kind);
    for (const span of spans)
      if (span.kind === kind) draw(span, 2 + place * LANE_STEP, LANE_HEIGHT);
  }
  context.fillStyle = colour("error");
  for (const span of spans) {
    if (span.isError && span.kind !== "run") {
      context.fillRect(x(span.end ?? span.start) - 1, ERROR_TOP, 2, HEIGHT - ERROR_TOP);
    }
  }
}
