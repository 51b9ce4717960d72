import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError, isTransient } from "~/api/error";
import { again } from "~/api/queries";

const TRIES_MAX = 1;

/** The cache of what was read. `onUnauthorized` is called when the credential is good no longer. */
export function makeQueryClient(onUnauthorized: () => void): QueryClient {
  const onError = (error: unknown) => {
    if (error instanceof ApiError && error.code === "unauthorized") onUnauthorized();
  };
  return new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        retry: (failures, error) => failures < TRIES_MAX && isTransient(error),
        refetchInterval: (query) => again(query),
      },
    },
  });
}
