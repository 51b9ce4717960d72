// Tables of rows 40 px high. They scroll sideways in their frame where the window is narrow.

import type { ComponentProps, ReactNode } from "react";
import { cx } from "./class-names";

export function Table({ label, children }: { label: string; children: ReactNode }) {
  return (
    <section
      aria-label={label}
      tabIndex={0}
      className="overflow-x-auto rounded-card border border-line bg-panel"
    >
      <table className="w-full border-collapse text-sm">{children}</table>
    </section>
  );
}

type Align = "left" | "right";

export function Head({ columns }: { columns: { name: string; align?: Align; width?: string }[] }) {
  return (
    <thead>
      <tr className="h-8 bg-sunken text-meta text-muted">
        {columns.map(({ name, align = "left", width }) => (
          <th
            key={name}
            scope="col"
            style={{ width }}
            className={cx(
              "border-b border-line px-3 font-medium whitespace-nowrap first:pl-4 last:pr-4",
              align === "right" ? "text-right" : "text-left",
            )}
          >
            {name}
          </th>
        ))}
      </tr>
    </thead>
  );
}

export function Row({ className, ...rest }: ComponentProps<"tr">) {
  return (
    <tr
      className={cx("h-10 border-b border-line last:border-b-0 hover:bg-hover", className)}
      {...rest}
    />
  );
}

type CellProps = ComponentProps<"td"> & { align?: Align; quiet?: boolean };

export function Cell({ align = "left", quiet, className, ...rest }: CellProps) {
  return (
    <td
      className={cx(
        "px-3 first:pl-4 last:pr-4",
        align === "right" && "text-right tabular whitespace-nowrap",
        quiet && "text-muted",
        className,
      )}
      {...rest}
    />
  );
}
