import type { RunStatus } from "~/api/types";
import { useWords } from "~/i18n";
import { Badge, type Tone } from "./badge";

const TONES: Record<RunStatus, Tone> = {
  pending: "neutral",
  running: "accent",
  waiting: "warn",
  completed: "ok",
  failed: "err",
  cancelled: "neutral",
};

/** How a run is: a word on its colour, with a dot that moves while it works. */
export function StatusBadge({ status }: { status: RunStatus }) {
  const { t } = useWords();
  return (
    <Badge tone={TONES[status]} dot={status === "running" ? "live" : true}>
      {t(`status.${status}`)}
    </Badge>
  );
}
