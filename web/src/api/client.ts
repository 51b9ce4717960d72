// Asking the API: typed by its document, in the scope that is chosen, errors in one form.

import createClient from "openapi-fetch";
import { ApiError, errorOf } from "./error";
import type { paths } from "./schema";
import { scope, scopeHeaders } from "./scope";

export const api = createClient<paths>({ baseUrl: location.origin });

api.use({
  onRequest({ request }) {
    for (const [name, value] of Object.entries(scopeHeaders(scope()))) {
      if (!request.headers.has(name)) request.headers.set(name, value);
    }
  },
  onError() {
    return new ApiError(0, "network", "the server cannot be reached");
  },
});

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** What was answered; an `ApiError` where it was refused. */
export async function answered<T>(call: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (!response.ok) throw errorOf(response, error);
  return data as T;
}
