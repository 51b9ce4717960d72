// Every page with something to show, in both languages and themes: no violation of WCAG 2.2 AA that axe
// finds, and nothing that the page's policy forbids.

import { beforeAll, test } from "vitest";
import { isCleanInBoth, PATHS, someRows } from "./accessibility";
import { LANGUAGES, visit, withBrowser } from "./visit";

const USER = "user_axe_shown";

withBrowser({ warm: true });

let rows: Record<string, string> = {};

beforeAll(async () => {
  rows = await someRows(USER);
});

/** The languages take turns at being the one that the page is opened in. */
const turns = PATHS.map((path, place) => {
  const [first, second] = place % 2 === 0 ? LANGUAGES : LANGUAGES.toReversed();
  return [path, first!, second!] as const;
});

test.each(turns)("%s, opened in %s, then in %s", async (path, first, second) => {
  const address = path.replace(/RUN|FORK|MEMORY/g, (name) => rows[name] ?? name);
  const visited = await visit(address, { language: first, user: USER });
  await isCleanInBoth(visited, second);
});
