// Logging in with a key. The server keeps it in a cookie that no script can read.

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter, useSearch } from "@tanstack/react-router";
import { answered, api } from "~/api/client";
import { ApiError } from "~/api/error";
import { useWords } from "~/i18n";
import { Button } from "~/ui/button";
import { Field, Input } from "~/ui/field";
import { Mark } from "~/ui/mark";
import { Card } from "~/ui/page";
import { Failure } from "~/ui/states";
import { useTitle } from "~/ui/title";

export function LoginPage() {
  const { t } = useWords();
  useTitle(t("login.title"));
  const { next } = useSearch({ from: "/login" });
  const router = useRouter();
  const queries = useQueryClient();
  const login = useMutation({
    mutationFn: (key: string) => answered(api.POST("/api/login", { body: { key } })),
    onSuccess: async () => {
      queries.clear();
      // A path of ours: an address of another site would not be.
      const path = next?.startsWith("/") && !next.startsWith("//") ? next : "/";
      router.history.push(path);
    },
  });
  const isWrong = login.error instanceof ApiError && login.error.status === 401;
  return (
    <main className="grid h-full place-items-center overflow-y-auto p-4">
      <Card className="w-full max-w-[400px] p-6">
        <h1 className="mb-5 flex items-center gap-3 text-title font-semibold">
          <Mark size={28} />
          {t("login.title")}
        </h1>
        <form
          action={(data) => login.mutate(String(data.get("key") ?? "").trim())}
          className="grid gap-4"
        >
          <Field
            label={t("login.key")}
            hint={t("login.hint")}
            error={isWrong ? t("login.wrong") : undefined}
          >
            {(attributes) => (
              <Input
                {...attributes}
                name="key"
                type="password"
                autoComplete="current-password"
                required
                aria-invalid={isWrong}
                autoFocus
              />
            )}
          </Field>
          {login.error && !isWrong && <Failure error={login.error} />}
          <Button look="primary" type="submit" disabled={login.isPending}>
            {t("login.enter")}
          </Button>
        </form>
      </Card>
    </main>
  );
}
