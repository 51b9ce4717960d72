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
    /** How long the server asks to be left alone; null where it does not. */
    readonly retryAfterMs: number | null = null,
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
  const code = said?.code ?? (response.status === 503 ? "unavailable" : "internal");
  return new ApiError(
    response.status,
    code,
    said?.message ?? `HTTP ${response.status}`,
    said?.request_id,
    said?.details,
    retryAfterMs(response),
  );
}

/** What a proxy asks beyond this is no wait any more, and no timer could hold all of it. */
const RETRY_AFTER_MAX_MS = 600_000;

/** The wait that a response asks for: seconds, or a date (RFC 9110, 10.2.3). */
export function retryAfterMs({ headers }: Response): number | null {
  const said = headers.get("retry-after");
  if (said === null) return null;
  const ms = /^\d+$/.test(said) ? Number(said) * 1000 : Date.parse(said) - Date.now();
  return ms > 0 ? Math.min(ms, RETRY_AFTER_MAX_MS) : null;
}
