import { clsx } from "clsx";
import type { ComponentProps, ReactNode } from "react";

type Look = "primary" | "plain" | "ghost" | "danger";

/** What the classes are, `controls.css` says. */
export const buttonClasses = (look: Look = "plain", ...more: string[]) =>
  clsx("button", `button-${look}`, ...more);

type ButtonProps = ComponentProps<"button"> & { look?: Look };

export function Button({ look, className, type = "button", ...rest }: ButtonProps) {
  return <button type={type} className={clsx(buttonClasses(look), className)} {...rest} />;
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
      className={clsx("button-icon", className)}
      {...rest}
    />
  );
}
