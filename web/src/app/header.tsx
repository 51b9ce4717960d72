import { Link } from "@tanstack/react-router";
import { Languages, Menu, Moon, Search, Sun } from "lucide-react";
import { lazy, Suspense, useEffect, useState } from "react";
import { useWords } from "~/i18n";
import { isDark, prefer, usePreferences } from "~/preferences";
import { Button, IconButton } from "~/ui/button";
import { Mark } from "~/ui/mark";
import { Kbd } from "~/ui/page";
import { modifier } from "./keys";
import { patient } from "./patient";

const Palette = lazy(() =>
  patient(() => import("./palette")).then((module) => ({ default: module.Palette })),
);
const ScopeSwitch = lazy(() =>
  patient(() => import("./scope-switch")).then((module) => ({ default: module.ScopeSwitch })),
);

export function Header({ onMenu }: { onMenu: () => void }) {
  const { t, language } = useWords();
  const chosen = usePreferences();
  const dark = isDark(chosen);
  return (
    <header className="col-span-2 flex items-center gap-3 border-b border-line bg-panel px-4">
      <IconButton label={t("nav")} onClick={onMenu} className="-ml-2 md:hidden">
        <Menu size={16} />
      </IconButton>
      <Link to="/" className="flex items-center gap-2 rounded-control font-semibold">
        <Mark />
        <span className="max-sm:sr-only">OpenIntern</span>
      </Link>
      <Suspense fallback={<div className="h-7" />}>
        <ScopeSwitch />
      </Suspense>
      <div className="ml-auto flex items-center gap-1.5">
        <SearchBox />
        <Button
          look="ghost"
          title={t("language")}
          onClick={() => prefer({ language: language === "en" ? "zh-CN" : "en" })}
        >
          <Languages size={15} aria-hidden />
          <span className="max-sm:sr-only" lang={language === "en" ? "zh-CN" : "en"}>
            {language === "en" ? "中文" : "English"}
          </span>
        </Button>
        <IconButton
          label={dark ? t("theme.light") : t("theme.dark")}
          onClick={() => prefer({ theme: dark ? "light" : "dark" })}
        >
          {dark ? <Sun size={16} /> : <Moon size={16} />}
        </IconButton>
      </div>
    </header>
  );
}

function SearchBox() {
  const { t } = useWords();
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "k" || !(event.metaKey || event.ctrlKey)) return;
      event.preventDefault();
      setOpen((open) => !open);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return (
    <>
      <button
        type="button"
        onClick={() => setOpen(true)}
        className="flex h-8 items-center gap-2 rounded-control border border-line bg-bg px-2.5 text-sm text-muted hover:border-control lg:w-[280px]"
      >
        <Search size={15} aria-hidden />
        <span className="max-lg:sr-only">{t("palette.open")}</span>
        <span className="ml-auto max-lg:hidden">
          <Kbd>{modifier}K</Kbd>
        </span>
      </button>
      {isOpen && (
        <Suspense fallback={null}>
          <Palette onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  );
}
