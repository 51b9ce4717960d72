// Windows over the page: in its middle, or at its side. Focus stays in them, Escape closes them.

import { clsx } from "clsx";
import { X } from "lucide-react";
import * as Radix from "radix-ui/dialog";
import type { ReactNode } from "react";
import { useWords } from "~/i18n";
import { IconButton } from "./button";

type Props = {
  title: string;
  description?: string;
  onClose: () => void;
  side?: boolean;
  children: ReactNode;
};

/** An open dialog: render it while it is wanted. */
export function Dialog({ title, description, onClose, side, children }: Props) {
  const { t } = useWords();
  return (
    <Radix.Root open onOpenChange={(open) => !open && onClose()}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-(--shade)" />
        <Radix.Content
          {...(description ? {} : { "aria-describedby": undefined })}
          className={clsx(
            "fixed z-50 flex flex-col border-line bg-panel shadow-float outline-none",
            side
              ? "inset-y-0 right-0 w-[min(480px,100vw)] animate-slide border-l"
              : "top-[12vh] left-1/2 max-h-[80vh] w-[min(520px,calc(100vw-32px))] -translate-x-1/2 rounded-card border",
          )}
        >
          <header className="flex items-start gap-3 px-5 pt-4">
            <div className="min-w-0 grow">
              <Radix.Title className="text-section font-semibold">{title}</Radix.Title>
              {description && (
                <Radix.Description className="mt-1 text-sm text-muted">
                  {description}
                </Radix.Description>
              )}
            </div>
            <Radix.Close asChild>
              <IconButton label={t("close")} className="-mr-2">
                <X size={16} />
              </IconButton>
            </Radix.Close>
          </header>
          <div className="min-h-0 grow overflow-y-auto px-5 pt-3 pb-5">{children}</div>
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}
