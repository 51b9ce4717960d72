// Code in colours, where its language is known. From tree to React, never through HTML.

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
import { Fragment, jsx, jsxs } from "react/jsx-runtime";

const lowlight = createLowlight({ bash, diff, json, python, rust, sql, typescript, yaml });
lowlight.registerAlias({
  bash: ["sh", "shell", "console", "zsh"],
  python: ["py"],
  rust: ["rs"],
  typescript: ["ts", "tsx", "js", "jsx", "javascript"],
  yaml: ["yml", "toml"],
});

type Props = { code: string; language: string };

export default function Highlighted({ code, language }: Props) {
  if (!lowlight.registered(language)) return code;
  return toJsxRuntime(lowlight.highlight(language, code), { Fragment, jsx, jsxs });
}
