// Whose data every request is about: shown always, chosen where the credential leaves it open.

import { useQueryClient } from "@tanstack/react-query";
import { ChevronDown } from "lucide-react";
import { useState } from "react";
import { choose, type Scope, useScope } from "~/api/scope";
import { useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { Field, Input } from "~/ui/field";
import { Popover } from "~/ui/popover";
import { useIdentity } from "./identity";

/** What the server takes for a name. */
const NAME = "[\\x21-\\x7e]{1,128}";

export function ScopeSwitch() {
  const { t } = useWords();
  const scope = useScope();
  const identity = useIdentity();
  const queries = useQueryClient();
  const [isOpen, setOpen] = useState(false);
  const isFixed = identity.org_id && identity.user_id && identity.project_id;
  const name = [scope.org_id, scope.user_id, scope.project_id].filter(Boolean).join(" / ");

  const submit = (data: FormData) => {
    const said = (field: keyof Scope) => String(data.get(field) ?? scope[field] ?? "").trim();
    queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "identity" });
    choose({
      org_id: said("org_id"),
      user_id: said("user_id"),
      project_id: said("project_id") || null,
    });
    setOpen(false);
  };

  if (isFixed) return <span className="truncate text-meta text-muted">{name}</span>;
  return (
    <Popover
      label={t("scope")}
      open={isOpen}
      onOpenChange={setOpen}
      trigger={
        <Button className="h-7 min-w-0 shrink px-2 text-meta font-normal" title={t("scope.hint")}>
          <span className="truncate">{name}</span>
          <ChevronDown size={13} aria-hidden className="shrink-0 text-faint" />
        </Button>
      }
    >
      <form action={submit} className="grid gap-3">
        <p className="text-meta text-muted">{t("scope.hint")}</p>
        {(["org_id", "user_id", "project_id"] as const).map((field) => (
          <Field key={field} label={t(`scope.${field}`)}>
            {(attributes) => (
              <Input
                {...attributes}
                name={field}
                defaultValue={scope[field] ?? ""}
                disabled={identity[field] != null}
                required={field !== "project_id"}
                pattern={NAME}
                spellCheck={false}
                autoComplete="off"
              />
            )}
          </Field>
        ))}
        <Button look="primary" type="submit">
          {t("scope.apply")}
        </Button>
      </form>
    </Popover>
  );
}
