// What is around every page: header, navigation, the banner of the connection, shortcuts.

import { Outlet } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { scopeName, useScope } from "~/api/scope";
import { useWords } from "~/i18n";
import { Toasts } from "~/ui/toasts";
import { Header } from "./header";
import { IdentityGate } from "./identity";
import { Navigation } from "./navigation";
import { patient } from "./patient";
import { Shortcuts } from "./shortcuts";

/** Read right behind the first paint: nothing is connected before. */
const ConnectionBanner = lazy(() =>
  patient(() => import("./connection")).then(({ ConnectionBanner }) => ({
    default: ConnectionBanner,
  })),
);

export function Shell() {
  return (
    <IdentityGate>
      <Frame />
    </IdentityGate>
  );
}

function Frame() {
  const { t } = useWords();
  const [isNavOpen, setNavOpen] = useState(false);
  const scope = scopeName(useScope());
  return (
    <div className="grid h-full grid-cols-[auto_minmax(0,1fr)] grid-rows-[48px_minmax(0,1fr)]">
      <a
        href="#main"
        className="absolute top-2 left-2 z-50 -translate-y-16 rounded-control bg-accent px-3 py-1.5 text-sm text-on-accent focus:translate-y-0"
      >
        {t("skip")}
      </a>
      <Header onMenu={() => setNavOpen(!isNavOpen)} />
      <Navigation isOpen={isNavOpen} onClose={() => setNavOpen(false)} />
      <div className="flex min-h-0 min-w-0 flex-col">
        <Suspense>
          <ConnectionBanner />
        </Suspense>
        {/* Another scope is another page: nothing of the one before stays. */}
        <main id="main" key={scope} tabIndex={-1} className="min-h-0 grow outline-none">
          <Outlet />
        </main>
      </div>
      <Shortcuts />
      <Toasts />
    </div>
  );
}
