// What a model wrote, as Markdown. It is hostile: no HTML, no images (an address can carry data away),
// links only to the web and to mail.

import { memo } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkCjkFriendly from "remark-cjk-friendly";
import remarkGfm from "remark-gfm";
import { blocksOf, closed } from "./blocks";
import { CodeBlock } from "./code-block";

const PLUGINS = [remarkGfm, remarkCjkFriendly];
const SAFE = /^(https?:|mailto:|[/#]|[^:]*$)/i;

const safeUrl = (url: string) => (SAFE.test(url.trim()) ? url : "");

const COMPONENTS: Components = {
  a: ({ href, children }) =>
    href ? (
      <a href={href} target="_blank" rel="noopener noreferrer nofollow">
        {children}
      </a>
    ) : (
      <span>{children}</span>
    ),
  img: ({ src, alt }) =>
    typeof src === "string" && src ? (
      <a href={src} target="_blank" rel="noopener noreferrer nofollow">
        {alt || src}
      </a>
    ) : (
      <span>{alt}</span>
    ),
  pre: ({ children }) => <>{children}</>,
  code: ({ className, children }) => {
    const text = String(children ?? "");
    const language = /language-([\w+-]+)/.exec(className ?? "")?.[1];
    const isBlock = language !== undefined || text.endsWith("\n");
    return isBlock ? (
      <CodeBlock code={text.replace(/\n$/, "")} language={language} />
    ) : (
      <code className="font-mono">{text}</code>
    );
  },
  table: ({ children }) => (
    <div className="table-frame" tabIndex={0}>
      <table>{children}</table>
    </div>
  ),
  input: ({ checked }) => <span aria-hidden>{checked ? "☑ " : "☐ "}</span>,
};

type Props = { text: string; isDraft?: boolean };

export default function Markdown({ text, isDraft = false }: Props) {
  const blocks = blocksOf(text);
  return (
    <div className="prose">
      {blocks.map((block, place) => (
        <Block
          // biome-ignore lint/suspicious/noArrayIndexKey: blocks are only ever appended
          key={place}
          text={isDraft && place === blocks.length - 1 ? closed(block) : block}
        />
      ))}
      {isDraft && (
        <span
          aria-hidden
          className="mt-1 block h-4 w-1.5 animate-breathe rounded-[1px] bg-accent"
        />
      )}
    </div>
  );
}

const Block = memo(function Block({ text }: { text: string }) {
  return (
    <ReactMarkdown remarkPlugins={PLUGINS} components={COMPONENTS} urlTransform={safeUrl} skipHtml>
      {text}
    </ReactMarkdown>
  );
});
