// Cuts Markdown into blocks that are parsed by themselves: while an answer grows, only its last block
// is parsed again. Pure.

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
/** What goes on with the block before, blank line or not: lists, quotes, tables, indented lines. */
const CONTINUES = /^(\s|[-*+>|]|\d+[.)])/;

export function blocksOf(text: string): string[] {
  const blocks: string[] = [];
  let block: string[] = [];
  let fence: string | null = null;
  let isAfterBlank = false;
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line)?.[1];
    if (fence === null && isAfterBlank && block.length > 0 && !CONTINUES.test(line)) {
      if (line.trim() !== "") {
        blocks.push(block.join("\n"));
        block = [];
      }
    }
    if (fence === null) fence = mark ?? null;
    else if (mark?.startsWith(fence)) fence = null;
    block.push(line);
    isAfterBlank = line.trim() === "";
  }
  if (block.length > 0) blocks.push(block.join("\n"));
  return blocks;
}

/** Closes what is still open at the end of a text in the making, so that it does not jump about. */
export function closed(block: string): string {
  const fences = block.split("\n").filter((line) => FENCE.test(line)).length;
  if (fences % 2 === 1) return `${block}\n\`\`\``;
  const strong = block.match(/\*\*/g)?.length ?? 0;
  const body = strong % 2 === 1 ? `${block.trimEnd()}**` : block;
  const ticks = body.match(/`/g)?.length ?? 0;
  return ticks % 2 === 1 ? `${body}\`` : body;
}
