// Copying to the clipboard, and saying that it happened.

import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { useWords } from "~/i18n";
import { Button, IconButton } from "./button";

const SAID_MS = 1_500;

/** Copies, also on pages over plain HTTP, where browsers have no clipboard for scripts. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

type Props = { text: string; label?: string; children?: string };

export function CopyButton({ text, label, children }: Props) {
  const { t } = useWords();
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    if (!isDone) return;
    const timer = setTimeout(() => setDone(false), SAID_MS);
    return () => clearTimeout(timer);
  }, [isDone]);
  const copy = () => copyText(text).then(() => setDone(true));
  const icon = isDone ? <Check size={14} className="text-ok" /> : <Copy size={14} />;
  const said = isDone ? t("copied") : (label ?? t("copy"));
  if (children) {
    return (
      <Button look="ghost" onClick={copy}>
        {icon}
        {isDone ? t("copied") : children}
      </Button>
    );
  }
  return (
    <IconButton label={said} onClick={copy} className="size-7">
      {icon}
    </IconButton>
  );
}
