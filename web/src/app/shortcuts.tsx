// Keys that work everywhere, and the sheet that lists them all. Single keys count only outside of
// fields, and can be switched off.

import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { prefer, preferences } from "~/preferences";
import { isSingleKey } from "./keys";
import { PLACES } from "./nav-items";
import { patient } from "./patient";

const ShortcutSheet = lazy(() =>
  patient(() => import("./shortcut-sheet")).then((module) => ({ default: module.ShortcutSheet })),
);

/** How long after `g` the second key counts. */
const SEQUENCE_MS = 1_200;

export function Shortcuts() {
  const navigate = useNavigate();
  const [isSheetOpen, setSheetOpen] = useState(false);
  const sequenceAt = useRef(0);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!isSingleKey(event)) return;
      if (Date.now() - sequenceAt.current < SEQUENCE_MS) {
        sequenceAt.current = 0;
        const place = PLACES.find(({ key }) => key === event.key);
        if (place) {
          event.preventDefault();
          void navigate({ to: place.to });
          return;
        }
      }
      if (event.key === "g") sequenceAt.current = Date.now();
      else if (event.key === "?") setSheetOpen(true);
      else if (event.key === "[") {
        prefer({ navigation: preferences().navigation === "wide" ? "narrow" : "wide" });
      } else if (event.key === "/") {
        const filter = document.querySelector<HTMLElement>("[data-filter]");
        if (filter) event.preventDefault();
        filter?.focus();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [navigate]);

  if (!isSheetOpen) return null;
  return (
    <Suspense fallback={null}>
      <ShortcutSheet onClose={() => setSheetOpen(false)} />
    </Suspense>
  );
}
