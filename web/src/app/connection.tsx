// How the live connections of this tab stand: a banner when one has been away for a second, and for a
// moment when it is back.

import { clsx } from "clsx";
import { CircleCheck, WifiOff } from "lucide-react";
import { useEffect, useState, useSyncExternalStore } from "react";
import { useWords } from "~/i18n";
import { currentLinks, onLinks, retryNow } from "~/live/follow";
import type { Link } from "~/live/frames";
import { Badge, type Tone } from "~/ui/badge";
import { Button } from "~/ui/button";

const PATIENCE_MS = 1_000;
const RECOVERED_MS = 4_000;

type Shown = { kind: "none" } | { kind: "lost" } | { kind: "restored"; events: number };

export function ConnectionBanner() {
  const { t } = useWords();
  const links = useSyncExternalStore(onLinks, currentLinks);
  const waiting = links.find((link) => link.kind === "waiting");
  const isLost = links.some((link) => link.kind === "waiting" || link.kind === "connecting");
  const restored = links.reduce((sum, link) => sum + (link.kind === "live" ? link.restored : 0), 0);
  const [shown, setShown] = useState<Shown>({ kind: "none" });

  useEffect(() => {
    if (isLost) {
      const timer = setTimeout(() => setShown({ kind: "lost" }), PATIENCE_MS);
      return () => clearTimeout(timer);
    }
    setShown((before) =>
      before.kind === "none" ? before : { kind: "restored", events: restored },
    );
    const timer = setTimeout(() => setShown({ kind: "none" }), RECOVERED_MS);
    return () => clearTimeout(timer);
  }, [isLost, restored]);

  const isDown = shown.kind === "lost";
  return (
    <div role="status">
      {shown.kind !== "none" && (
        <div
          className={clsx(
            "flex h-9 items-center gap-3 border-b border-line px-4 text-sm",
            isDown ? "bg-warn-soft text-warn" : "bg-ok-soft text-ok",
          )}
        >
          {isDown ? <WifiOff size={15} aria-hidden /> : <CircleCheck size={15} aria-hidden />}
          {isDown ? (
            <Lost until={waiting?.kind === "waiting" ? waiting.until : null} />
          ) : (
            t("link.restored", { n: shown.kind === "restored" ? shown.events : 0 })
          )}
          {isDown && (
            <Button className="h-7" onClick={retryNow}>
              {t("link.retry")}
            </Button>
          )}
        </div>
      )}
    </div>
  );
}

/** Counts down; the seconds are not read out. */
function Lost({ until }: { until: number | null }) {
  const { t } = useWords();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const seconds = until === null ? 0 : Math.ceil((until - now) / 1000);
  return (
    <span>
      {t("link.lost")}
      <span aria-hidden className="tabular">
        {" "}
        {seconds > 0 ? t("link.in", { s: seconds }) : t("link.now")}
      </span>
    </span>
  );
}

const TONES: Record<Link["kind"], Tone> = {
  connecting: "neutral",
  live: "ok",
  waiting: "warn",
  paused: "neutral",
  finished: "neutral",
  refused: "err",
};

/** The connection of a live page, in a word. */
export function ConnectionPill({ link }: { link: Link }) {
  const { t } = useWords();
  if (link.kind === "finished") return null;
  return (
    <Badge tone={TONES[link.kind]} dot={link.kind === "live" ? "live" : true}>
      {t(`link.${link.kind}`)}
    </Badge>
  );
}
