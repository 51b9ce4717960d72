// Lists of runs that are live: read again when a run of the scope was accepted, began or ended.

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { again, LIVE_MS } from "~/api/again";
import { follow } from "./follow";

/** However much happens, lists are read no more often. */
const TOGETHER_MS = 500;
/** What no frame tells (steps, cost so far) is read this often. */
const SLOW_MS = 15_000;

/** Keeps lists of runs up to date; how often they are to be read besides. */
export function useRunNews() {
  const queries = useQueryClient();
  const [isLive, setLive] = useState(false);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const readSoon = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        void queries.invalidateQueries({ queryKey: ["runs"] });
      }, TOGETHER_MS);
    };
    const unfollow = follow(null, 0, {
      onFrames: readSoon,
      onLink(link) {
        setLive(link.kind === "live");
        // What happened before it was followed.
        if (link.kind === "live") readSoon();
      },
    });
    return () => {
      clearTimeout(timer);
      unfollow();
    };
  }, [queries]);
  return (query: Parameters<typeof again>[0]) => again(query, isLive ? SLOW_MS : LIVE_MS);
}
