// How full the window of the model was at the last call of a conversation.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { contextQuery } from "~/api/queries";
import type { Run } from "~/api/types";
import { useWords } from "~/i18n";
import { roomOf } from "~/run/context/words";

/** From here on the next messages will make the runtime summarise, and then very soon. */
const FULL = 0.75;
const VERY_FULL = 0.9;

/** `runs` are those of the conversation, oldest first. Nothing where no model has answered. */
export function ContextMeter({ runs }: { runs: readonly Run[] }) {
  const last = runs.findLast(({ step_count }) => step_count > 0);
  return last ? <Meter key={last.run_id} run={last} /> : null;
}

function Meter({ run }: { run: Run }) {
  const { t, format } = useWords();
  const { data } = useQuery(contextQuery(run.run_id, run.step_count));
  if (!data) return null;
  const room = roomOf(data.segments);
  const share = Math.min(1, data.input_tokens / Math.max(1, room));
  const look = share > VERY_FULL ? "text-err" : share > FULL ? "text-warn" : "text-muted";
  const said = { used: format.tokens(data.input_tokens), room: format.tokens(room) };
  return (
    <Link
      to="/runs/$id"
      params={{ id: run.run_id }}
      search={{ tab: "context", step: run.step_count }}
      title={t("chat.context.hint")}
      aria-label={t("chat.context", { ...said, share: format.share(share) })}
      className={clsx("flex items-center gap-1.5 rounded-control tabular hover:underline", look)}
    >
      <svg aria-hidden viewBox="0 0 16 16" className="size-3.5 -rotate-90">
        <circle cx="8" cy="8" r="6" fill="none" strokeWidth="3" className="stroke-line" />
        <circle
          cx="8"
          cy="8"
          r="6"
          fill="none"
          strokeWidth="3"
          pathLength="100"
          strokeDasharray={`${share * 100} 100`}
          className="stroke-current"
        />
      </svg>
      {t("chat.context.short", said)}
    </Link>
  );
}
