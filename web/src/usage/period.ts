// Which time the usage is of, and how it is cut into bars. Times are UTC, as the server counts them. Pure.

export type Per = "hour" | "day";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** What can be chosen, in days; the server sums up at most a year. */
export const PERIODS = [1, 7, 30, 90, 365];
export const DAYS_DEFAULT = 30;
/** The server sums up so many days by hour. */
const BY_HOUR_MAX_DAYS = 31;

/** The days that are asked for, and by what: a day alone is always shown by hours. */
export function periodOf(days = DAYS_DEFAULT, per: Per = "day"): { days: number; per: Per } {
  const most = PERIODS.at(-1)!;
  const bounded = Math.min(days, most);
  if (bounded === 1) return { days: 1, per: "hour" };
  return { days: bounded, per: canBeByHour(bounded) ? per : "day" };
}

export const canBeByHour = (days: number) => days <= BY_HOUR_MAX_DAYS;

/** The beginnings of the hours or days of a period, the latest last. */
export function slotsOf({ days, per }: { days: number; per: Per }, now = Date.now()): string[] {
  const size = per === "hour" ? HOUR_MS : DAY_MS;
  const count = per === "hour" ? days * 24 : days;
  const last = now - (now % size);
  return Array.from({ length: count }, (_, place) =>
    new Date(last - (count - 1 - place) * size).toISOString(),
  );
}
