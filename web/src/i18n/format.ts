// Numbers, times and money as people read them, in their language.

import type { Preferences } from "~/preferences";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export type Format = ReturnType<typeof formatter>;

export function formatter(language: string, timeZone: Preferences["timeZone"]) {
  const zone = timeZone === "utc" ? { timeZone: "UTC" } : {};
  const whole = new Intl.NumberFormat(language);
  const cents = new Intl.NumberFormat(language, {
    minimumFractionDigits: 2,
    maximumFractionDigits: 2,
  });
  const clock = new Intl.DateTimeFormat(language, {
    ...zone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  });
  const exact = new Intl.DateTimeFormat(language, {
    ...zone,
    dateStyle: "medium",
    timeStyle: "long",
    hour12: false,
  });
  const calendar = new Intl.DateTimeFormat(language, {
    timeZone: "UTC",
    month: "short",
    day: "numeric",
  });
  const hours = new Intl.DateTimeFormat(language, {
    timeZone: "UTC",
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  });
  const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });

  return {
    number: (value: number) => whole.format(value),
    cost,
    duration,
    bytes,
    /** 934, 1.4k, 18k, 4.3M. */
    tokens(count: number) {
      if (count < 1000) return String(count);
      if (count < 10_000) return `${(count / 1000).toFixed(1)}k`;
      if (count < 999_500) return `${Math.round(count / 1000)}k`;
      return `${(count / 1_000_000).toFixed(1)}M`;
    },
    /** Minutes are enough in tables. */
    time: (at: string) => clock.format(new Date(at)),
    /** With seconds and zone, for tooltips and details. */
    exactTime: (at: string) => exact.format(new Date(at)),
    /** The calendar day, in UTC, in which a time is. */
    day: (at: string) => calendar.format(new Date(at)),
    /** The hour of it, in UTC. */
    hour: (at: string) => hours.format(new Date(at)),
    /** Of 0 to 1. */
    share: (share: number) => percent.format(share),
    ago(at: string, now = Date.now()) {
      const past = new Date(at).getTime() - now;
      const size = Math.abs(past);
      if (size < MINUTE_MS) return relative.format(Math.round(past / 1000), "second");
      if (size < HOUR_MS) return relative.format(Math.round(past / MINUTE_MS), "minute");
      if (size < DAY_MS) return relative.format(Math.round(past / HOUR_MS), "hour");
      if (size < 14 * DAY_MS) return relative.format(Math.round(past / DAY_MS), "day");
      return clock.format(new Date(at));
    },
  };

  /** Two decimals, and as many as say something below one cent. */
  function cost(usd: number) {
    if (usd === 0) return "$0";
    if (usd < 0.01) return `$${usd.toFixed(usd < 0.0001 ? 6 : 4)}`;
    return `$${cents.format(usd)}`;
  }
}

/** 42 ms, 3.21 s, 64m 40s, 2h 05m. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 2 * MINUTE_MS) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes}m ${String(seconds % 60).padStart(2, "0")}s`;
  return `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, "0")}m`;
}

/** 312 B, 64 KB, 2.3 MB. */
export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${Math.round(size / 1024)} KB`;
  return `${(size / 1024 / 1024).toFixed(1)} MB`;
}
