// Stands in for the package `react-style-singleton` (see `vite.config.ts`), by which dialogs keep the
// page behind them from scrolling. That one writes a `<style>`, which the page's policy forbids; a
// constructed sheet does the same.

import { useEffect } from "react";

export function styleSingleton() {
  return function Style({ styles }: { styles: string }) {
    useEffect(() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(styles);
      document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
      return () => {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
      };
    }, [styles]);
    return null;
  };
}
