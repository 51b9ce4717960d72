import { render, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { blocksOf, closed } from "~/chat/blocks";
import Markdown from "~/chat/markdown";
import { WordsProvider } from "~/i18n";
import { en } from "~/i18n/en";

function drawn(text: string) {
  return render(
    <WordsProvider first={{ language: "en", dictionary: en }}>
      <Markdown text={text} />
    </WordsProvider>,
  ).container;
}

test("blocks end at blank lines, but not inside of fences and lists", () => {
  const check = (text: string, blocks: number) => expect(blocksOf(text), text).toHaveLength(blocks);
  check("one\n\ntwo", 2);
  check("```js\na\n\nb\n```", 1);
  check("````\n```\n\nb\n````\n\nend", 2);
  check("1. a\n\n2. b\n\n   more\n\nend", 2);
  check("a\n", 1);
  expect(blocksOf("a\n\nb\n\n```\nc\n\nd").join("\n")).toBe("a\n\nb\n\n```\nc\n\nd");
});

test("what is open at the end of a text in the making is closed", () => {
  expect(closed("```rust\nfn")).toBe("```rust\nfn\n```");
  expect(closed("a **bold")).toBe("a **bold**");
  expect(closed("a `code")).toBe("a `code`");
  expect(closed("a **b** `c`")).toBe("a **b** `c`");
});

test("hostile Markdown is text and harmless links", () => {
  const page = drawn(
    [
      '<script>document.title = "hit"</script>',
      '<img src=x onerror="document.title=1">',
      "[click](javascript:alert(1)) [data](data:text/html,x) [vb]( vbscript:x)",
      "![beacon](https://evil.example/p.png?secret)",
      "[ok](https://example.com)",
    ].join("\n\n"),
  );
  expect(page.querySelector("script, img, iframe, [onerror]")).toBeNull();
  const links = [...page.querySelectorAll("a")].map((link) => link.getAttribute("href"));
  expect(links).toEqual(["https://evil.example/p.png?secret", "https://example.com"]);
  for (const link of page.querySelectorAll("a")) {
    expect(link.rel).toBe("noopener noreferrer nofollow");
  }
});

test("bold Chinese ends at its full-width colon", () => {
  expect(drawn("这是**今天的周报：**分三段。").querySelector("strong")?.textContent).toBe(
    "今天的周报：",
  );
});

test("code is highlighted in place, and huge code is not", async () => {
  const page = drawn("```rust\nfn main() {}\n```");
  expect(page.querySelector("pre")?.textContent, "before its colours").toBe("fn main() {}");
  await waitFor(() => expect(page.querySelector("pre .hljs-keyword")?.textContent).toBe("fn"), {
    timeout: 20_000,
  });
  const huge = drawn(`\`\`\`rust\n${"let a = 1;\n".repeat(6_000)}\`\`\``);
  expect(huge.querySelector("pre .hljs-keyword")).toBeNull();
});
