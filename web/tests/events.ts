// Makes the events of a run, as the server writes them.

import type { RunEvent } from "~/api/types";

type Fact = { type: RunEvent["type"]; payload: unknown };

/** Numbers facts and puts them into envelopes; `at` is in milliseconds from the start of the run. */
export class Script {
  readonly events: RunEvent[] = [];
  private step = 0;

  add(fact: Fact, at: number, span: string, parent: string | null): this {
    this.events.push({
      v: 1,
      seq: this.events.length + 1,
      ts: new Date(Date.UTC(2026, 0, 1) + at).toISOString(),
      run_id: "run_01h455vb4pex5vsknk084sn02q",
      session_key: "s_test",
      agent_id: "main",
      step_id: this.step > 0 ? `step_${String(this.step).padStart(4, "0")}` : null,
      span_id: span,
      parent_span_id: parent,
      redaction: { contains_secrets: false },
      ...fact,
    } as RunEvent);
    return this;
  }

  start(at = 0): this {
    const payload = { input: "hello", model: "demo/default", limits: {}, epoch: 1 };
    return this.add({ type: "run.started", payload }, at, "run", null);
  }

  beginStep(at: number): this {
    this.step += 1;
    return this.add(
      { type: "step.started", payload: { step: this.step } },
      at,
      this.stepSpan,
      "run",
    );
  }

  recall(at: number, duration_ms: number, snippets: string[] = []): this {
    const hits = snippets.map((snippet, place) => ({
      id: `mem_${place}`,
      snippet,
      score: 1,
      type: "core",
    }));
    const payload = { query: "hello", hits, duration_ms };
    return this.add({ type: "memory.recalled", payload }, at, this.stepSpan, "run");
  }

  answer(at: number, duration_ms: number, content: string, cost_usd = 0.01): this {
    const payload = {
      provider: "demo",
      model: "default",
      content,
      tool_calls: [],
      finish_reason: "stop",
      usage: { input_tokens: 90, output_tokens: 10, cached_tokens: 0, total_tokens: 100 },
      cost_usd,
      time_to_first_token_ms: 1,
      duration_ms,
      attempts: 1,
    };
    const span = `llm-${this.events.length}`;
    return this.add({ type: "llm.called", payload }, at, span, this.stepSpan);
  }

  call(at: number, id: string, tool = "read_file"): this {
    const payload = { tool_call_id: id, tool, args: { path: id }, effect: "read_only" };
    return this.add({ type: "tool.called", payload }, at, `tool-${id}`, this.stepSpan);
  }

  result(at: number, id: string, duration_ms: number, is_error = false, truncated = false): this {
    const payload = {
      tool_call_id: id,
      tool: "read_file",
      result: is_error ? "there is no such file" : "text",
      is_error,
      outcome: is_error ? "error" : "ok",
      truncated,
      duration_ms,
    };
    return this.add({ type: "tool.result", payload }, at, `tool-${id}`, this.stepSpan);
  }

  endStep(at: number, duration_ms: number): this {
    const payload = { step: this.step, result_type: "tool_calls", duration_ms };
    return this.add({ type: "step.completed", payload }, at, this.stepSpan, "run");
  }

  complete(at: number, output: string): this {
    this.step = 0;
    const usage = { input_tokens: 90, output_tokens: 10, cached_tokens: 0, total_tokens: 100 };
    const payload = { output, usage, cost_usd: 0.01, duration_ms: at };
    return this.add({ type: "run.completed", payload }, at, "run", null);
  }

  private get stepSpan(): string {
    return `step-${this.step}`;
  }
}
