import { type RefObject, useEffect, useState } from "react";

/** Whether an element has been in the window, or near it. */
export function useIsSeen(frame: RefObject<HTMLElement | null>): boolean {
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && setSeen(true),
      { rootMargin: "400px" },
    );
    observer.observe(frame.current!);
    return () => observer.disconnect();
  }, [frame]);
  return isSeen;
}
