// What spans are called, in the language of the page.

import type { Translate } from "~/i18n";
import type { Span } from "./spans";
import { warningName } from "./warnings";

export function spanName(t: Translate, { kind, name, step, hits }: Span): string {
  switch (kind) {
    case "step":
      return t("span.step", { n: step ?? 0 });
    case "memory":
      return t("span.recall", { n: hits ?? 0 });
    case "note":
      if (name === "run.resumed") return t("span.resumed");
      return name === "context.compacted" ? t("span.compacted") : warningName(t, name);
    case "run":
    case "llm":
    case "tool":
      return name;
  }
}
