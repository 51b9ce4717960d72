// Class names, of which a later one wins over an earlier one of its kind.

import { type ClassValue, clsx } from "clsx";
import { extendTailwindMerge } from "tailwind-merge";

/** Our sizes: else `text-meta` would be taken for a colour. */
const merge = extendTailwindMerge({
  extend: {
    theme: {
      text: ["meta", "sm", "base", "section", "title", "figure"],
      radius: ["badge", "control", "card"],
      shadow: ["float"],
    },
  },
});

export const cx = (...names: ClassValue[]) => merge(clsx(names));
