// Parts of a panel, one at a time, and places of a page as links.

import { Link, type LinkProps } from "@tanstack/react-router";
import { clsx } from "clsx";
import * as Radix from "radix-ui/tabs";
import type { ReactNode } from "react";

const TAB =
  "relative h-9 px-0.5 text-sm text-muted hover:text-text data-[state=active]:font-medium data-[state=active]:text-text data-[state=active]:after:absolute data-[state=active]:after:inset-x-0 data-[state=active]:after:-bottom-px data-[state=active]:after:h-0.5 data-[state=active]:after:bg-accent";

type Tab = { id: string; name: string; content: ReactNode };

export function Tabs({ label, tabs }: { label: string; tabs: Tab[] }) {
  return (
    <Radix.Root defaultValue={tabs[0]?.id}>
      <Radix.List aria-label={label} className="flex gap-5 border-b border-line">
        {tabs.map(({ id, name }) => (
          <Radix.Trigger key={id} value={id} className={TAB}>
            {name}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {tabs.map(({ id, content }) => (
        <Radix.Content key={id} value={id} className="pt-3 outline-none">
          {content}
        </Radix.Content>
      ))}
    </Radix.Root>
  );
}

type LinkTab = { id: string; name: ReactNode; link: LinkProps };

/** Tabs that stand in the address. */
export function LinkTabs({
  label,
  active,
  tabs,
}: {
  label: string;
  active: string;
  tabs: LinkTab[];
}) {
  return (
    <nav aria-label={label} className="flex gap-5 overflow-x-auto border-b border-line px-4">
      {tabs.map(({ id, name, link }) => (
        <Link
          key={id}
          {...link}
          aria-current={id === active ? "page" : undefined}
          data-state={id === active ? "active" : undefined}
          className={clsx(TAB, "inline-flex items-center whitespace-nowrap")}
        >
          {name}
        </Link>
      ))}
    </nav>
  );
}

/** A choice among few, as one control. */
export function Segments<Value extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: Value;
  options: { value: Value; name: ReactNode }[];
  onChange: (value: Value) => void;
}) {
  return (
    <fieldset
      aria-label={label}
      className="inline-flex max-w-full overflow-x-auto rounded-control bg-sunken p-1"
    >
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          aria-pressed={option.value === value}
          onClick={() => onChange(option.value)}
          className="h-7 rounded-[5px] px-3 text-sm whitespace-nowrap text-muted hover:text-text aria-pressed:bg-panel aria-pressed:font-medium aria-pressed:text-text aria-pressed:shadow-[0_1px_3px_var(--shade)]"
        >
          {option.name}
        </button>
      ))}
    </fieldset>
  );
}
