import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { AGAIN_MS, again, waitOf } from "~/api/again";
import { ApiError, isTransient } from "~/api/error";

const TRIES_MAX = 1;
const RETRY_MS = 1_000;

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
        // A long wait is not for trying quietly: the page says so, and asks when it is over.
        retry: (failures, error) =>
          failures < TRIES_MAX && isTransient(error) && waitOf(error) <= AGAIN_MS,
        retryDelay: (_, error) => Math.max(RETRY_MS, waitOf(error)),
        refetchOnWindowFocus: ({ state }) => waitOf(state.error) === 0,
        refetchOnReconnect: ({ state }) => waitOf(state.error) === 0,
        refetchInterval: (query) => again(query),
      },
    },
  });
}
