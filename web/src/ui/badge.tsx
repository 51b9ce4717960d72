import { clsx } from "clsx";
import type { ReactNode } from "react";

export type Tone = "neutral" | "accent" | "ok" | "warn" | "err";

const TONES: Record<Tone, string> = {
  neutral: "bg-sunken text-muted",
  accent: "bg-soft text-accent",
  ok: "bg-ok-soft text-ok",
  warn: "bg-warn-soft text-warn",
  err: "bg-err-soft text-err",
};

type Props = { tone?: Tone; dot?: boolean | "live"; className?: string; children: ReactNode };

/** A word on a tint; a dot before it where it is a state. */
export function Badge({ tone = "neutral", dot, className, children }: Props) {
  return (
    <span
      className={clsx(
        "inline-flex h-5 shrink-0 items-center gap-1.5 rounded-full px-2 text-meta font-medium whitespace-nowrap",
        TONES[tone],
        className,
      )}
    >
      {dot && (
        <span
          aria-hidden
          className={clsx("size-1.5 rounded-full bg-current", dot === "live" && "animate-breathe")}
        />
      )}
      {children}
    </span>
  );
}

/** A figure in a frame: duration, tokens, cost. */
export function Figure({ title, children }: { title?: string; children: ReactNode }) {
  return (
    <span
      title={title}
      className="inline-flex h-5 items-center rounded-badge border border-line px-1.5 text-meta text-muted tabular whitespace-nowrap"
    >
      {children}
    </span>
  );
}
