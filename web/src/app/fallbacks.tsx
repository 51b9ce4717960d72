// Where there is no page, or not yet, or a page broke.

import { Link, useRouter } from "@tanstack/react-router";
import { useWords } from "~/i18n";
import { buttonClasses } from "~/ui/button";
import { Failure, LoadingRows } from "~/ui/states";

export function NotFound() {
  const { t } = useWords();
  return (
    <main className="grid h-full place-content-center justify-items-center gap-4 p-6 text-center">
      <h1 className="text-title font-semibold">{t("absent.page")}</h1>
      <Link to="/" className={buttonClasses("primary")}>
        {t("absent.home")}
      </Link>
    </main>
  );
}

export function PageComing() {
  return (
    <div className="p-6">
      <LoadingRows />
    </div>
  );
}

export function PageFailure({ error }: { error: unknown }) {
  const router = useRouter();
  return (
    <div className="p-6">
      <Failure error={error} onRetry={() => router.invalidate()} />
    </div>
  );
}
