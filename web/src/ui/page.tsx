// The frames that pages are made of.

import { clsx } from "clsx";
import type { ComponentProps, ReactNode } from "react";

type PageProps = {
  title: string;
  actions?: ReactNode;
  width?: "full" | "reading";
  children: ReactNode;
};

/** A page that scrolls, with its title. */
export function Page({ title, actions, width = "full", children }: PageProps) {
  return (
    <div className="h-full overflow-y-auto">
      <div
        className={clsx("mx-auto px-6 py-5 max-sm:px-4", width === "reading" && "max-w-[940px]")}
      >
        <header className="mb-4 flex min-h-8 flex-wrap items-center gap-3">
          <h1 className="text-title font-semibold">{title}</h1>
          <div className="ml-auto flex flex-wrap items-center gap-2">{actions}</div>
        </header>
        {children}
      </div>
    </div>
  );
}

export function Card({ className, ...rest }: ComponentProps<"section">) {
  return (
    <section className={clsx("rounded-card border border-line bg-panel", className)} {...rest} />
  );
}

/** Names and what they are, in two columns. */
export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  return (
    <dl className="grid grid-cols-[minmax(88px,auto)_1fr] items-baseline gap-x-4 gap-y-1.5 text-sm">
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-muted">{name}</dt>
          <dd className="min-w-0 wrap-any">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Kbd({ children }: { children: ReactNode }) {
  return (
    <kbd className="inline-grid h-[18px] min-w-[18px] place-items-center rounded-badge border border-line bg-sunken px-1 font-sans text-[11px] leading-none text-muted">
      {children}
    </kbd>
  );
}
