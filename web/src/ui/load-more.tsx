import { useWords } from "~/i18n";
import { Button } from "./button";

type Source = { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };

/** The next page of a list, where there is one. */
export function LoadMore({ source }: { source: Source }) {
  const { t } = useWords();
  if (!source.hasNextPage) return null;
  return (
    <div className="grid place-items-center py-4">
      <Button disabled={source.isFetchingNextPage} onClick={() => source.fetchNextPage()}>
        {source.isFetchingNextPage ? t("loading") : t("more")}
      </Button>
    </div>
  );
}
