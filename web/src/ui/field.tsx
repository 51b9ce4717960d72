// What text is typed and chosen in. What the classes are, `controls.css` says.

import { clsx } from "clsx";
import type { ComponentProps, ReactNode } from "react";
import { useId } from "react";

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input className={clsx("field field-line", className)} {...rest} />;
}

export function Textarea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea className={clsx("field field-text", className)} {...rest} />;
}

export function Select({ className, ...rest }: ComponentProps<"select">) {
  return <select className={clsx("field field-choice", className)} {...rest} />;
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
        <p id={about} className={clsx("text-meta", error ? "text-err" : "text-muted")}>
          {error ?? hint}
        </p>
      )}
    </div>
  );
}
