// When what was read is read again.

import { ApiError, isTransient } from "./error";

/** How often tables of live things ask again. */
export const LIVE_MS = 2_000;
/** After what may pass (the server starts anew) a page asks again by itself. */
export const AGAIN_MS = 4_000;

type Asked = { state: { error: unknown } };

/** When a query is to be asked again: after `ms` while what it shows lives, and after a failure; never
 * before the wait that the server asked for is over. */
export const again = ({ state: { error } }: Asked, ms: number | false = false) =>
  isTransient(error) ? Math.max(ms || AGAIN_MS, waitOf(error)) : ms;

/** How long the server asked to be left alone. */
export const waitOf = (error: unknown) =>
  error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
