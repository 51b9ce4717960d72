import type { ComponentProps, ReactNode } from "react";
import { cx } from "./class-names";

type Look = "primary" | "plain" | "ghost" | "danger";

const LOOKS: Record<Look, string> = {
  primary: "bg-accent text-on-accent hover:bg-accent-strong border-transparent",
  plain: "bg-panel text-text border-line hover:bg-hover",
  ghost: "bg-transparent text-muted border-transparent hover:bg-hover hover:text-text",
  danger: "bg-panel text-err border-line hover:bg-err-soft",
};

export const buttonClasses = (look: Look = "plain", ...more: string[]) =>
  cx(
    "inline-flex h-8 shrink-0 items-center justify-center gap-1.5 rounded-control border px-3 text-sm font-medium whitespace-nowrap select-none disabled:opacity-55",
    LOOKS[look],
    ...more,
  );

type ButtonProps = ComponentProps<"button"> & { look?: Look };

export function Button({ look, className, type = "button", ...rest }: ButtonProps) {
  return <button type={type} className={cx(buttonClasses(look), className)} {...rest} />;
}

type IconButtonProps = Omit<ButtonProps, "aria-label" | "title"> & {
  /** What it does, for who cannot see the icon and who hovers over it. */
  label: string;
  children: ReactNode;
};

export function IconButton({ label, look = "ghost", className, ...rest }: IconButtonProps) {
  return (
    <Button
      look={look}
      aria-label={label}
      title={label}
      className={cx("size-8 px-0", className)}
      {...rest}
    />
  );
}
