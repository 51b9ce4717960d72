//! Events for people: one line a fact, and the model's words as they come.
//!
//! Works on envelopes as the server wrote them: a type that is newer than this program still gets
//! its line.

use protocol::{
    event::{CompactionMethod, Event, Fact, LlmDelta, LlmReset, ResumeReason},
    memory::VectorScan,
    message::Usage,
    run::RunError,
    tool::Outcome,
};
use serde_json::Value;

use crate::{
    exit::Abort,
    output::{BAD, FAINT, GOOD, ODD, Output, styled},
};

/// Columns before the summary of an event.
const PREFIX_COLUMNS: usize = 23;

/// Draws the events of one run, in their order.
pub(crate) struct Renderer<'a> {
    output: &'a mut Output,
    /// The words of this step's model call that are drawn already.
    drawn: String,
    /// The words of the last model call that is complete.
    last_text: String,
    /// Whether the last line has no line break yet.
    mid_line: bool,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(output: &'a mut Output) -> Self {
        Self { output, drawn: String::new(), last_text: String::new(), mid_line: false }
    }

    pub(crate) fn delta(&mut self, delta: &LlmDelta) -> Result<(), Abort> {
        self.drawn.push_str(&delta.text);
        self.text(&delta.text)
    }

    pub(crate) fn reset(&mut self, _: &LlmReset) -> Result<(), Abort> {
        if std::mem::take(&mut self.drawn).is_empty() {
            return Ok(());
        }
        self.end_line()?;
        self.output.line(&styled(FAINT, "(the model starts its answer over)"))
    }

    pub(crate) fn event(&mut self, json: &str) -> Result<(), Abort> {
        match serde_json::from_str::<Event>(json) {
            Ok(event) => self.known(&event),
            Err(_) => self.unknown(json),
        }
    }

    /// An envelope for machines, untouched.
    pub(crate) fn raw(&mut self, json: &str) -> Result<(), Abort> {
        self.output.text(&format!("{json}\n"))
    }

    /// Ends a line that is left open.
    pub(crate) fn end_line(&mut self) -> Result<(), Abort> {
        if std::mem::take(&mut self.mid_line) { self.output.text("\n") } else { Ok(()) }
    }

    fn known(&mut self, event: &Event) -> Result<(), Abort> {
        if let Fact::LlmCalled { content, .. } = &event.fact
            && event.step_id.is_some()
        // Without a step it is a summary that the runtime asked for.
        {
            self.complete_text(content)?;
        }
        if let Fact::RunCompleted { output, .. } = &event.fact
            && *output != self.last_text
        {
            self.complete_text(output)?;
        }
        self.end_line()?;
        let step = event.step_id.as_deref().and_then(|id| id.strip_prefix("step_"));
        let step = step.map_or("", |number| number.trim_start_matches('0'));
        let summary = self.output.fit(&summary(&event.fact), PREFIX_COLUMNS);
        let summary = match &event.fact {
            Fact::RunCompleted { .. } => styled(GOOD, summary),
            Fact::RunFailed { .. } | Fact::ToolResult { is_error: true, .. } => {
                styled(BAD, summary)
            }
            Fact::RunWarning { .. } | Fact::RunResumed { .. } | Fact::RunCancelled { .. } => {
                styled(ODD, summary)
            }
            _ => summary,
        };
        let name = styled(FAINT, format_args!("{:<16}", event.fact.type_name()));
        self.output.line(&format!("{step:>3}  {name}  {summary}"))
    }

    fn unknown(&mut self, json: &str) -> Result<(), Abort> {
        let envelope: Value = serde_json::from_str(json).unwrap_or_default();
        let name = envelope.get("type").and_then(Value::as_str).unwrap_or("?");
        let payload = envelope.get("payload").unwrap_or(&Value::Null).to_string();
        self.end_line()?;
        let payload = self.output.fit(&payload, PREFIX_COLUMNS);
        self.output.line(&format!("     {}  {payload}", styled(FAINT, format_args!("{name:<16}"))))
    }

    /// Draws the rest of the text, which is complete now.
    fn complete_text(&mut self, whole: &str) -> Result<(), Abort> {
        let drawn = std::mem::take(&mut self.drawn);
        self.last_text = whole.to_owned();
        match whole.strip_prefix(drawn.as_str()) {
            Some(missing) => self.text(missing)?,
            None => {
                self.end_line()?;
                self.text(whole)?;
            }
        }
        self.end_line()
    }

    fn text(&mut self, text: &str) -> Result<(), Abort> {
        if let Some(last) = text.chars().next_back() {
            self.output.text(text)?;
            self.mid_line = last != '\n';
        }
        Ok(())
    }
}

fn summary(fact: &Fact) -> String {
    match fact {
        Fact::RunStarted { input, model, .. } => format!("{model} · {input}"),
        Fact::RunResumed { epoch, from_step, reason } => {
            let why = match reason {
                ResumeReason::WorkerLost => "its worker was lost",
                ResumeReason::Released => "its worker handed it back",
                ResumeReason::Approval => "a person decided",
                ResumeReason::ChildDone => "the run it waited for has ended",
            };
            format!("after step {from_step}: {why} · epoch {epoch}")
        }
        Fact::StepStarted { step } => format!("step {step}"),
        Fact::MemoryRecalled { hits, duration_ms, vector_scan, .. } => {
            let by = match vector_scan {
                Some(VectorScan::Late | VectorScan::Failed) => " by words alone",
                Some(VectorScan::Exact | VectorScan::Hnsw | VectorScan::NoEmbedder) | None => "",
            };
            let best = hits.iter().map(|hit| hit.score).fold(f64::NAN, f64::max);
            let best = if hits.is_empty() { String::new() } else { format!(" · best {best:.2}") };
            let hits = counted(hits.len() as u64, "hit");
            format!("{hits}{by}{best} · {}", duration(*duration_ms))
        }
        Fact::ContextCompacted { through_step, tokens_before, tokens_after, method } => {
            let how = match method {
                CompactionMethod::Model => "summarised by the model",
                CompactionMethod::Extractive => "by their beginnings",
            };
            format!(
                "steps to {through_step} {how} · {} of {}",
                tokens_after,
                counted(*tokens_before, "token")
            )
        }
        Fact::LlmCalled {
            provider,
            model,
            tool_calls,
            usage,
            cost_usd,
            duration_ms,
            attempts,
            ..
        } => {
            let calls = match tool_calls.len() {
                0 => String::new(),
                some => format!(" · {}", counted(some as u64, "tool call")),
            };
            let tries =
                if *attempts > 1 { format!(" · {attempts} attempts") } else { String::new() };
            format!(
                "{provider}/{model} · {}→{} tok{calls}{tries} · {}{}",
                amount(usage.input_tokens),
                amount(usage.output_tokens),
                duration(*duration_ms),
                money(*cost_usd)
            )
        }
        Fact::ToolCalled { tool, args, .. } => format!("{tool} {args}"),
        Fact::ToolResult { tool, result, outcome, duration_ms, .. } => {
            let outcome = match outcome {
                Outcome::Ok => "ok",
                Outcome::Error => "error",
                Outcome::Timeout => "timeout",
                Outcome::Denied => "denied",
                Outcome::Unknown => "unknown",
            };
            let result = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
            format!("{tool} {outcome} · {} · {result}", duration(*duration_ms))
        }
        Fact::StepCompleted { step, duration_ms, .. } => {
            format!("step {step} · {}", duration(*duration_ms))
        }
        Fact::RunWarning { code, message, .. } => format!("{code}: {message}"),
        Fact::RunCompleted { usage, cost_usd, duration_ms, .. } => {
            format!("{}{}{}", duration(*duration_ms), tokens(usage), money(*cost_usd))
        }
        Fact::RunFailed { error, duration_ms } => {
            format!("{} · {}", error_line(error), duration(*duration_ms))
        }
        Fact::RunCancelled { by, reason, stopped, unknown } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let calls = |calls: usize, what: &str| match calls {
                0 => String::new(),
                some => format!(" · {} {what}", counted(some as u64, "call")),
            };
            format!(
                "by {by}{reason}{}{}",
                calls(stopped.len(), "stopped"),
                calls(unknown.len(), "of unknown outcome")
            )
        }
    }
}

/// Why a run failed, on a line.
pub(crate) fn error_line(error: &RunError) -> String {
    let code = serde_json::to_value(error.code).ok();
    format!("{}: {}", code.as_ref().and_then(Value::as_str).unwrap_or("error"), error.message)
}

/// A duration in milliseconds, for people: `1.88 s`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.2} s", ms as f64 / 1e3),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Tokens of a run, as a part of a line; nothing for none.
pub(crate) fn tokens(usage: &Usage) -> String {
    if usage.total_tokens == 0 {
        String::new()
    } else {
        format!(" · {} tok", amount(usage.total_tokens))
    }
}

/// Money, as a part of a line; nothing for nothing.
pub(crate) fn money(usd: f64) -> String {
    if usd > 0.0 { format!(" · ${usd:.4}") } else { String::new() }
}

/// `1 step`, `2 steps`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn amount(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let check = |got: String, want: &str| assert_eq!(got, want);
        check(duration(42), "42 ms");
        check(duration(1_880), "1.88 s");
        check(duration(3_723_000), "62 min 3 s");
        check(amount(999), "999");
        check(amount(3_400), "3.4k");
        check(money(0.0), "");
        check(money(0.0028), " · $0.0028");
        check(counted(1, "hit"), "1 hit");
        check(counted(0, "hit"), "0 hits");
    }
}
