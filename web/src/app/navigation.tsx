import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { PanelLeft } from "lucide-react";
import { useWords } from "~/i18n";
import { prefer, usePreferences } from "~/preferences";
import { IconButton } from "~/ui/button";
import { useIdentity } from "./identity";
import { PLACES } from "./nav-items";

type Props = { isOpen: boolean; onClose: () => void };

/** Words and icons; icons alone where the window is narrow or one likes it so; a sheet on phones. */
export function Navigation({ isOpen, onClose }: Props) {
  const { t } = useWords();
  const { rights } = useIdentity();
  const isNarrow = usePreferences().navigation === "narrow";
  const places = PLACES.filter(({ right }) => right === null || rights.includes(right));
  return (
    <>
      {isOpen && (
        <button
          type="button"
          aria-label={t("close")}
          onClick={onClose}
          className="fixed inset-0 top-12 z-30 bg-(--shade) md:hidden"
        />
      )}
      <nav
        aria-label={t("nav")}
        className={clsx(
          "flex flex-col gap-0.5 overflow-y-auto border-r border-line bg-panel p-2",
          isNarrow ? "w-14" : "w-14 xl:w-[216px]",
          "max-md:fixed max-md:top-12 max-md:bottom-0 max-md:left-0 max-md:z-40 max-md:w-[240px]",
          !isOpen && "max-md:hidden",
        )}
      >
        {places.map(({ to, name, icon: Icon }) => (
          <Link
            key={to}
            to={to}
            title={t(name)}
            onClick={onClose}
            activeOptions={{ exact: to === "/", includeSearch: false }}
            className="flex h-8 shrink-0 items-center gap-2.5 rounded-control px-3 text-sm text-muted hover:bg-hover hover:text-text data-[status=active]:bg-soft data-[status=active]:font-medium data-[status=active]:text-accent"
          >
            <Icon size={16} aria-hidden className="shrink-0" />
            <span className={clsx("truncate", isNarrow ? "md:sr-only" : "md:max-xl:sr-only")}>
              {t(name)}
            </span>
          </Link>
        ))}
        <IconButton
          label={t("nav.toggle")}
          aria-expanded={!isNarrow}
          onClick={() => prefer({ navigation: isNarrow ? "wide" : "narrow" })}
          className="mt-auto ml-1 hidden xl:inline-flex"
        >
          <PanelLeft size={16} />
        </IconButton>
      </nav>
    </>
  );
}
