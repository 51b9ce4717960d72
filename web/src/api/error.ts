// What can go wrong when the server is asked, in one form.

import type { components } from "./schema";

export type ErrorCode = components["schemas"]["ErrorCode"] | "network";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: ErrorCode,
    message: string,
    readonly requestId: string | null = null,
    readonly fields: { field: string; message: string }[] = [],
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** Whether asking again may help. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export const isTransient = (error: unknown) => error instanceof ApiError && error.isTransient;

/** The error of a response that is not 2xx. Bodies that are not ours (a proxy's page) have no words. */
export function errorOf(response: Response, body: unknown): ApiError {
  const said = (body as components["schemas"]["ErrorBody"] | undefined)?.error;
  if (!said?.code) return new ApiError(response.status, "internal", `HTTP ${response.status}`);
  return new ApiError(response.status, said.code, said.message, said.request_id, said.details);
}
