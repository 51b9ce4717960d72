// Making a key: its name, what it may do and for whom; then the key itself, this once.

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { answered, api } from "~/api/client";
import type { Right } from "~/api/types";
import { useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { CopyButton } from "~/ui/copy";
import { Dialog } from "~/ui/dialog";
import { Field, Input } from "~/ui/field";
import { Failure } from "~/ui/states";

const RIGHTS: Right[] = ["runs:read", "runs:write", "memory:read", "memory:write", "admin"];
const USUAL: Right[] = ["runs:read", "runs:write"];

export function CreateKey({ onClose }: { onClose: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [rights, setRights] = useState<ReadonlySet<Right>>(new Set(USUAL));
  const create = useMutation({
    mutationFn: (data: FormData) => {
      const said = (field: string) => String(data.get(field) ?? "").trim() || null;
      const until = said("expires");
      return answered(
        api.POST("/api/keys", {
          body: {
            name: said("name") ?? "",
            rights: RIGHTS.filter((right) => rights.has(right)),
            user_id: said("user"),
            project_id: said("project"),
            expires_at: until ? new Date(`${until}T23:59:59`).toISOString() : null,
          },
        }),
      );
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: ["keys"] }),
  });
  if (create.data) return <Secret secret={create.data.key} onClose={onClose} />;
  const toggle = (right: Right) => {
    const next = new Set(rights);
    if (!next.delete(right)) next.add(right);
    setRights(next);
  };
  const isAdmin = rights.has("admin");
  return (
    <Dialog title={t("keys.create")} onClose={onClose}>
      <form action={(data) => create.mutate(data)} className="grid gap-4">
        <Field label={t("keys.name")}>
          {(attributes) => <Input {...attributes} name="name" required maxLength={128} />}
        </Field>
        <fieldset>
          <legend className="mb-1 text-sm font-medium">{t("keys.rights")}</legend>
          <div className="grid grid-cols-2 gap-1">
            {RIGHTS.map((right) => (
              <label key={right} className="flex min-h-6 items-center gap-2 text-sm">
                <input
                  type="checkbox"
                  checked={rights.has(right)}
                  onChange={() => toggle(right)}
                  className="size-4 accent-accent"
                />
                <code className="font-mono text-meta">{right}</code>
              </label>
            ))}
          </div>
        </fieldset>
        <div className="grid grid-cols-2 gap-4">
          <Field label={t("keys.user")} hint={isAdmin ? t("keys.unbound") : t("keys.any_user")}>
            {(attributes) => <Input {...attributes} name="user" disabled={isAdmin} />}
          </Field>
          <Field
            label={t("keys.project")}
            hint={isAdmin ? t("keys.unbound") : t("keys.any_project")}
          >
            {(attributes) => <Input {...attributes} name="project" disabled={isAdmin} />}
          </Field>
        </div>
        <Field label={t("keys.expires")} hint={t("keys.expires.hint")}>
          {(attributes) => <Input {...attributes} name="expires" type="date" />}
        </Field>
        {create.error && <Failure error={create.error} />}
        <Button look="primary" type="submit" disabled={create.isPending || rights.size === 0}>
          {t("keys.create")}
        </Button>
      </form>
    </Dialog>
  );
}

function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  const { t } = useWords();
  return (
    <Dialog title={t("keys.created")} description={t("keys.once")} onClose={onClose}>
      <div className="flex items-center gap-1 rounded-control border border-line bg-sunken py-1 pl-3">
        <code data-secret className="min-w-0 grow font-mono text-meta wrap-any">
          {secret}
        </code>
        <CopyButton text={secret} />
      </div>
      <Button look="primary" className="mt-4 w-full" onClick={onClose}>
        {t("keys.saved")}
      </Button>
    </Dialog>
  );
}
