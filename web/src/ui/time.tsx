import { useEffect, useState } from "react";
import { useWords } from "~/i18n";

const TICK_MS = 15_000;

/** How long ago; the time itself, with its zone, where one hovers. */
export function Ago({ at }: { at: string }) {
  const { format } = useWords();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <time dateTime={at} title={format.exactTime(at)} className="whitespace-nowrap">
      {format.ago(at, now)}
    </time>
  );
}

/** How long something has been going on. */
export function Elapsed({ since }: { since: number }) {
  const { format } = useWords();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 200);
    return () => clearInterval(timer);
  }, []);
  return <span className="tabular">{format.duration(Math.max(0, now - since))}</span>;
}
