// Tables of rows 40 px high, 32 px where they are many. They scroll sideways in their frame where the window is narrow.

import { clsx } from "clsx";
import type { ComponentProps, ReactNode } from "react";

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
            className={clsx(
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

type RowProps = ComponentProps<"tr"> & { dense?: boolean };

export function Row({ dense, className, ...rest }: RowProps) {
  return (
    <tr
      className={clsx(
        "border-b border-line last:border-b-0 hover:bg-hover",
        dense ? "h-8" : "h-10",
        className,
      )}
      {...rest}
    />
  );
}

type CellProps = ComponentProps<"td"> & { align?: Align; quiet?: boolean };

export function Cell({ align = "left", quiet, className, ...rest }: CellProps) {
  return (
    <td
      className={clsx(
        "px-3 first:pl-4 last:pr-4",
        align === "right" && "text-right tabular whitespace-nowrap",
        quiet && "text-muted",
        className,
      )}
      {...rest}
    />
  );
}
