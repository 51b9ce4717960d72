// What is in sight, and what time it is: both change often, and are told no more often than needed.

import { useCallback, useEffect, useRef, useState } from "react";

/** The axis fits itself once scrolling has stopped for so long. */
const REFIT_MS = 120;
const LIVE_TICK_MS = 250;

/** The rows in sight, told once scrolling stops; the first time at once. */
export function useSight() {
  const [sight, setSight] = useState({ first: 0, last: 0 });
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const isFirst = useRef(true);
  const tell = useCallback((first: number, last: number) => {
    clearTimeout(timer.current);
    const set = () =>
      setSight((before) =>
        before.first === first && before.last === last ? before : { first, last },
      );
    if (isFirst.current && last > 0) {
      isFirst.current = false;
      set();
    } else timer.current = setTimeout(set, REFIT_MS);
  }, []);
  return [sight, tell] as const;
}

/** The time, as long as something goes on. */
export function useNow(isLive: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isLive) return;
    const timer = setInterval(() => setNow(Date.now()), LIVE_TICK_MS);
    return () => clearInterval(timer);
  }, [isLive]);
  return now;
}
