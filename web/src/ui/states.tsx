// What stands where there is nothing to show: while it comes, when there is none, when it failed.

import { clsx } from "clsx";
import { CircleAlert, Lock } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { ApiError } from "~/api/error";
import { useWords } from "~/i18n";
import { Button } from "./button";
import { CopyButton } from "./copy";

/** Loading that is over at once shows nothing. */
const QUIET_MS = 150;
const LONG_MS = 5_000;

export function Skeleton({ className }: { className?: string }) {
  return (
    <div aria-hidden className={clsx("animate-breathe rounded-control bg-sunken", className)} />
  );
}

/** Rows in the making, of the height that they will have. */
export function LoadingRows({ rows = 8, height = 40 }: { rows?: number; height?: number }) {
  const { t } = useWords();
  const [elapsed, setElapsed] = useState<"none" | "some" | "long">("none");
  useEffect(() => {
    const some = setTimeout(() => setElapsed("some"), QUIET_MS);
    const long = setTimeout(() => setElapsed("long"), LONG_MS);
    return () => {
      clearTimeout(some);
      clearTimeout(long);
    };
  }, []);
  return (
    <div role="status" aria-label={t("loading")} style={{ minHeight: rows * height }}>
      {elapsed !== "none" &&
        Array.from({ length: rows }, (_, row) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
          <div key={row} className="flex items-center" style={{ height }}>
            <Skeleton className={clsx("h-3", row % 3 === 1 ? "w-2/3" : "w-11/12")} />
          </div>
        ))}
      {elapsed === "long" && <p className="text-sm text-muted">{t("loading.long")}</p>}
    </div>
  );
}

type EmptyProps = { title: string; children?: ReactNode };

/** Nothing here: a sentence, and what to do about it. */
export function Empty({ title, children }: EmptyProps) {
  return (
    <div className="grid place-items-center gap-3 px-6 py-14 text-center">
      <p className="text-base text-muted">{title}</p>
      {children}
    </div>
  );
}

/** A line for the shell, to be copied. */
export function CommandLine({ children }: { children: string }) {
  return (
    <div className="flex max-w-full items-center gap-1 rounded-control border border-line bg-sunken pl-3">
      <code className="overflow-x-auto py-1.5 font-mono text-meta whitespace-nowrap">
        {children}
      </code>
      <CopyButton text={children} />
    </div>
  );
}

/** What failed, why, what to do, and the id that the server's log has. */
export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { t, format } = useWords();
  const known = error instanceof ApiError ? error : null;
  if (known?.code === "forbidden" || known?.code === "scope_mismatch") {
    return <NoPermission error={known} />;
  }
  return (
    <div
      role="alert"
      className="flex flex-wrap items-center gap-x-3 gap-y-2 rounded-control border border-line bg-err-soft px-3 py-2 text-sm"
    >
      <CircleAlert size={16} aria-hidden className="text-err" />
      <div className="min-w-0 grow">
        <p className="font-medium text-err">{known ? t(`error.${known.code}`) : t("error.page")}</p>
        <p className="wrap-any text-text">
          {error instanceof Error ? error.message : String(error)}
        </p>
        {known?.fields.map(({ field, message }) => (
          <p key={field + message} className="wrap-any text-meta text-muted">
            <code className="font-mono">{field}</code> {message}
          </p>
        ))}
        {known?.retryAfterMs && (
          <p className="text-meta text-muted">
            {t("error.wait", { time: format.duration(known.retryAfterMs) })}
          </p>
        )}
        {known?.requestId && (
          <p className="flex items-center text-meta text-muted">
            <code className="font-mono wrap-any">{known.requestId}</code>
            <CopyButton text={known.requestId} />
          </p>
        )}
      </div>
      {onRetry && <Button onClick={onRetry}>{t("retry")}</Button>}
    </div>
  );
}

function NoPermission({ error }: { error: ApiError }) {
  const { t } = useWords();
  const right = /right `([^`]+)`/.exec(error.message)?.[1];
  return (
    <div className="grid place-items-center gap-2 px-6 py-14 text-center">
      <Lock size={20} aria-hidden className="text-faint" />
      <p className="text-base font-medium">{t("forbidden.title")}</p>
      <p className="max-w-[44ch] text-sm text-muted">
        {right ? t("forbidden.right", { right }) : error.message}
      </p>
    </div>
  );
}
