// "Why not this one?": a search asked about a memory that it does not show.

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { type WhyNot as Answer, HITS_MAX, HITS_SHOWN, whyNotQuery } from "~/api/queries";
import type { MemoryType } from "~/api/types";
import { type Translate, useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { Field, Input } from "~/ui/field";
import { Card } from "~/ui/page";
import { Failure } from "~/ui/states";
import { Score } from "./score";

export function WhyNot({ query, layer }: { query: string; layer: MemoryType | undefined }) {
  const { t } = useWords();
  const { why } = useSearch({ from: "/shell/memory" });
  const navigate = useNavigate({ from: "/memory" });
  const ask = (id: string) =>
    void navigate({ search: (said) => ({ ...said, why: id.trim() || undefined }), replace: true });
  return (
    <details open={why !== undefined} className="mt-5">
      <summary className="w-fit py-1 text-sm text-muted hover:text-text">{t("why.open")}</summary>
      <Card className="mt-2 grid gap-3 p-4">
        <form
          key={why}
          action={(data) => ask(String(data.get("id") ?? ""))}
          className="flex items-end gap-2"
        >
          <div className="grow">
            <Field label={t("why.id")}>
              {(attributes) => (
                <Input
                  {...attributes}
                  name="id"
                  required
                  defaultValue={why}
                  placeholder="mem_…"
                  className="font-mono"
                />
              )}
            </Field>
          </div>
          <Button type="submit">{t("why.ask")}</Button>
        </form>
        {why && <Because query={query} id={why} layer={layer} />}
      </Card>
    </details>
  );
}

type BecauseProps = { query: string; id: string; layer: MemoryType | undefined };

function Because({ query, id, layer }: BecauseProps) {
  const { t } = useWords();
  const { data, error, refetch } = useQuery(whyNotQuery(query, id));
  if (error) return <Failure error={error} onRetry={() => refetch()} />;
  if (!data) return <p className="text-sm text-muted">{t("loading")}</p>;
  return (
    <div role="status" className="grid gap-2">
      <p className="text-sm">{reason(t, data, layer)}</p>
      {"hit" in data && (
        <>
          <Link
            to="/memory/$id"
            params={{ id }}
            className="line-clamp-2 text-sm text-accent wrap-any hover:underline"
          >
            {data.hit.snippet}
          </Link>
          <Score hit={data.hit} />
        </>
      )}
    </div>
  );
}

function reason(t: Translate, answer: Answer, layer: MemoryType | undefined): string {
  switch (answer.kind) {
    case "absent":
      return t("why.absent");
    case "unlike":
      return t("why.unlike");
    case "behind":
      return t("why.behind", { most: HITS_MAX, last: answer.last.toFixed(2) });
    case "placed": {
      const { place, hit } = answer;
      if (layer && hit.type !== layer) {
        return t("why.layer", { layer: t(`layer.${hit.type}`), place });
      }
      return place > HITS_SHOWN
        ? t("why.beyond", { place, shown: HITS_SHOWN })
        : t("why.shown", { place });
    }
  }
}
