// A block of code: highlighted where the language is known and the block is not huge, and copied with
// one click. From tree to React, never through HTML.

import { toJsxRuntime } from "hast-util-to-jsx-runtime";
import bash from "highlight.js/lib/languages/bash";
import diff from "highlight.js/lib/languages/diff";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import { memo } from "react";
import { Fragment, jsx, jsxs } from "react/jsx-runtime";
import { CopyButton } from "~/ui/copy";

const HIGHLIGHT_MAX_CHARS = 50_000;

const lowlight = createLowlight({ bash, diff, json, python, rust, sql, typescript, yaml });
lowlight.registerAlias({
  bash: ["sh", "shell", "console", "zsh"],
  python: ["py"],
  rust: ["rs"],
  typescript: ["ts", "tsx", "js", "jsx", "javascript"],
  yaml: ["yml", "toml"],
});

type Props = { code: string; language: string | undefined };

export const CodeBlock = memo(function CodeBlock({ code, language }: Props) {
  return (
    <div className="group relative rounded-control border border-line bg-sunken">
      <div className="absolute top-1 right-1 flex items-center gap-1 opacity-0 group-focus-within:opacity-100 group-hover:opacity-100">
        {language && <span className="text-meta text-muted">{language}</span>}
        <CopyButton text={code} />
      </div>
      <pre
        tabIndex={0}
        className="overflow-x-auto px-3.5 py-2.5 font-mono text-[12.5px] leading-[22px]"
      >
        <code>{highlighted(code, language)}</code>
      </pre>
    </div>
  );
});

function highlighted(code: string, language: string | undefined) {
  const isKnown = language !== undefined && lowlight.registered(language);
  if (!isKnown || code.length > HIGHLIGHT_MAX_CHARS) return code;
  return toJsxRuntime(lowlight.highlight(language, code), { Fragment, jsx, jsxs });
}
