// A turn in its versions, one at a time: the latest, until another is chosen.

import { ChevronLeft, ChevronRight } from "lucide-react";
import { useState } from "react";
import { useWords } from "~/i18n";
import { IconButton } from "~/ui/button";
import { Turn, type TurnActions } from "./turn";
import type { TurnVersions } from "./turns";

type Props = { of: TurnVersions; actions: TurnActions; onGrow?: () => void };

export function Versions({ of: { versions }, actions, onGrow }: Props) {
  const { t } = useWords();
  const [chosen, setChosen] = useState({ at: 0, of: 0 });
  // A version that is new is shown, whatever was chosen before it.
  const at = chosen.of === versions.length ? chosen.at : versions.length - 1;
  const run = versions[at]!;
  const show = (place: number) => setChosen({ at: place, of: versions.length });
  return (
    <div>
      <Turn key={run.run_id} run={run} actions={actions} onGrow={onGrow} />
      {versions.length > 1 && (
        <div className="relative -mt-6 mb-5 flex items-center text-meta text-muted tabular">
          <IconButton
            label={t("chat.version.before")}
            className="size-7"
            disabled={at === 0}
            onClick={() => show(at - 1)}
          >
            <ChevronLeft size={14} />
          </IconButton>
          {t("chat.version", { n: at + 1, of: versions.length })}
          <IconButton
            label={t("chat.version.after")}
            className="size-7"
            disabled={at === versions.length - 1}
            onClick={() => show(at + 1)}
          >
            <ChevronRight size={14} />
          </IconButton>
        </div>
      )}
    </div>
  );
}
