// What text is typed and chosen in.

import type { ComponentProps, ReactNode } from "react";
import { useId } from "react";
import { cx } from "./class-names";

const FRAME =
  "rounded-control border border-control bg-panel text-sm text-text placeholder:text-faint disabled:opacity-55";

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input className={cx(FRAME, "h-8 w-full px-2.5", className)} {...rest} />;
}

export function Textarea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea className={cx(FRAME, "w-full px-2.5 py-1.5", className)} {...rest} />;
}

export function Select({ className, ...rest }: ComponentProps<"select">) {
  return (
    <select className={cx(FRAME, "chevron h-8 appearance-none pr-8 pl-2.5", className)} {...rest} />
  );
}

type FieldProps = {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
  /** The control, given the id that the label is for. */
  children: (attributes: { id: string; "aria-describedby": string | undefined }) => ReactNode;
};

/** A control with its label, a hint, and what is wrong with it. */
export function Field({ label, hint, error, children }: FieldProps) {
  const id = useId();
  const about = hint || error ? `${id}-about` : undefined;
  return (
    <div className="grid gap-1">
      <label htmlFor={id} className="text-sm font-medium">
        {label}
      </label>
      {children({ id, "aria-describedby": about })}
      {about && (
        <p id={about} className={cx("text-meta", error ? "text-err" : "text-muted")}>
          {error ?? hint}
        </p>
      )}
    </div>
  );
}
