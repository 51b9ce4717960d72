// Who asks, and what they may do: asked once, before anything is shown.

import { useQuery } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useLayoutEffect } from "react";
import { ApiError } from "~/api/error";
import { identityQuery } from "~/api/queries";
import { bind } from "~/api/scope";
import type { Identity, Right } from "~/api/types";
import { useWords } from "~/i18n";
import { Failure } from "~/ui/states";

const IdentityContext = createContext<Identity | null>(null);

export function IdentityGate({ children }: { children: ReactNode }) {
  const { t } = useWords();
  const { data, error, refetch } = useQuery(identityQuery);
  useLayoutEffect(() => {
    if (data) bind(data);
  }, [data]);
  if (data) return <IdentityContext value={data}>{children}</IdentityContext>;
  // The login page is on its way.
  if (!error || (error instanceof ApiError && error.code === "unauthorized")) return null;
  return (
    <main className="mx-auto max-w-[560px] px-4 pt-[20vh]">
      <h1 className="mb-3 text-title font-semibold">{t("server.away")}</h1>
      <Failure error={error} onRetry={() => refetch()} />
    </main>
  );
}

export function useIdentity(): Identity {
  const identity = useContext(IdentityContext);
  if (!identity) throw new Error("useIdentity is used outside of IdentityGate");
  return identity;
}

/** Whether the credential has a right. */
export function useCan(right: Right): boolean {
  return useIdentity().rights.includes(right);
}
