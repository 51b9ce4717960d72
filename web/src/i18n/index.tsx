// The language of the page: the dictionary in use, for components.

import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { patient } from "~/app/patient";
import { type Language, languageOf, usePreferences } from "~/preferences";
import { en } from "./en";
import { type Format, formatter } from "./format";
import { type Dictionary, type Translate, translator } from "./translate";

export type { PlainKey, Translate } from "./translate";

type Words = { language: Language; t: Translate; format: Format };

const WordsContext = createContext<Words | null>(null);

/** Chinese is fetched by those who read it. */
export async function loadDictionary(language: Language): Promise<Dictionary> {
  return language === "zh-CN" ? (await patient(() => import("./zh-CN"))).zhCN : en;
}

type Props = { first: { language: Language; dictionary: Dictionary }; children: ReactNode };

/** Gives words to everything below; `first` was loaded before the first paint. */
export function WordsProvider({ first, children }: Props) {
  const chosen = usePreferences();
  const wanted = languageOf(chosen);
  const [loaded, setLoaded] = useState(first);

  useEffect(() => {
    if (wanted === loaded.language) return;
    let stale = false;
    loadDictionary(wanted).then((dictionary) => {
      if (!stale) setLoaded({ language: wanted, dictionary });
    });
    return () => {
      stale = true;
    };
  }, [wanted, loaded.language]);

  const words = useMemo(
    () => ({
      language: loaded.language,
      t: translator(loaded.language, loaded.dictionary),
      format: formatter(loaded.language, chosen.timeZone),
    }),
    [loaded, chosen.timeZone],
  );
  return <WordsContext value={words}>{children}</WordsContext>;
}

export function useWords(): Words {
  const words = useContext(WordsContext);
  if (!words) throw new Error("useWords is used outside of WordsProvider");
  return words;
}
