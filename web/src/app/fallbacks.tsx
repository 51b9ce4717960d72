// Where there is no page, or a page broke.

import { Link, useRouter } from "@tanstack/react-router";
import { useWords } from "~/i18n";
import { buttonClasses } from "~/ui/button";
import { Empty, Failure } from "~/ui/states";

export function NotFound() {
  const { t } = useWords();
  return (
    <Empty title={t("absent.page")}>
      <Link to="/" className={buttonClasses("primary")}>
        {t("absent.home")}
      </Link>
    </Empty>
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
