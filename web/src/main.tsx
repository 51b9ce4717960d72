import "./styles.css";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { makeQueryClient } from "~/app/query-client";
import { loadDictionary, WordsProvider } from "~/i18n";
import { languageOf, preferences, watchPreferences } from "~/preferences";
import { makeRouter } from "~/router";

watchPreferences();

const queries = makeQueryClient(() => {
  const { pathname, href } = router.state.location;
  if (pathname !== "/login") void router.navigate({ to: "/login", search: { next: href } });
});
const router = makeRouter(queries);
const language = languageOf(preferences());

void loadDictionary(language).then((dictionary) => {
  createRoot(document.getElementById("root")!).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <WordsProvider first={{ language, dictionary }}>
          <RouterProvider router={router} />
        </WordsProvider>
      </QueryClientProvider>
    </StrictMode>,
  );
});
