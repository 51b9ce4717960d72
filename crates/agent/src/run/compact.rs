//! Compaction: when the prompt of a run has become large, its older steps are folded into a summary.
//!
//! The summary is a message of the run like any other: it is written once, with an event, and whoever
//! takes the run up has it. The task is never folded, and a call never parted from its result.

use std::sync::Arc;

use model::chat::ChatRequest;
use protocol::{
    event::{CompactionMethod, Fact},
    message::Message,
};

use crate::{
    context::share,
    history::{beginning, newest_lines},
    recorder::EventSpan,
    tools::Tool,
};

use super::{active::ActiveRun, stop::StopReason, summary::Summarise};

/// Of the prompt's bound, the share at which older steps are folded.
const COMPACT_AT: f64 = 0.8;
/// Of the prompt's bound, the share that steps have at least, however much stands before them.
const STEPS_SHARE: f64 = 0.25;
/// Of what steps may take, the share that is kept as it was.
const KEPT_SHARE: f64 = 0.4;
/// Of what steps may take, the share that is worth folding: less waits for more.
const FOLDED_SHARE: f64 = 0.25;
/// Of what steps may take, the share of a summary.
const SUMMARY_SHARE: f64 = 0.25;
/// Most tokens of a summary.
const SUMMARY_MAX_TOKENS: u64 = 2_000;

/// What stands before a summary in a prompt.
const HEADING: &str = "## What was done so far (older steps of this task, summarised)\n";

impl ActiveRun<'_> {
    /// Folds older steps if the prompt has become too large.
    pub(super) async fn compact(&mut self, tools: &[Arc<Tool>]) -> Result<(), StopReason> {
        let budget = self.agent.context_tokens;
        let tools_tokens =
            tools.iter().map(|tool| model::tokens::estimate_tool(&tool.info)).sum::<u64>();
        let history: u64 = self.history.iter().map(model::tokens::estimate_message).sum();
        let fixed = self.counted(tools_tokens + history + self.conversation.first_tokens());
        let room = share(budget, COMPACT_AT).saturating_sub(fixed).max(share(budget, STEPS_SHARE));
        let before = self.counted(self.conversation.recent_tokens());
        if before <= room {
            return Ok(());
        }
        // As they are estimated: what is kept is estimated, too.
        let kept_tokens = share(room, KEPT_SHARE / self.counted_per_estimated());
        let Some(folding) = self.conversation.folding(kept_tokens) else { return Ok(()) };
        if self.counted(folding.tokens) < share(room, FOLDED_SHARE) {
            return Ok(());
        }
        let summary_tokens = share(room, SUMMARY_SHARE).min(SUMMARY_MAX_TOKENS);
        let (kept_from, through_step) =
            (folding.kept_from, self.step.saturating_sub(1).saturating_sub(folding.kept_steps));
        let extract = extract(folding.before, folding.messages, summary_tokens);
        let transcript = transcript(&self.claim.input, folding.before, folding.messages);
        let (summary, method) =
            match self.summarise(Summarise::Steps, transcript, summary_tokens).await? {
                Some(summary) => (summary, CompactionMethod::Model),
                None => (extract, CompactionMethod::Extractive),
            };
        self.push(Message::Summary { content: format!("{HEADING}{summary}"), kept_from });
        self.state.kept_from = self.conversation.recent_from();
        self.state.sent.forget();
        let after = self.counted(self.conversation.recent_tokens());
        self.recorder.record(
            EventSpan::Step(self.step),
            Fact::ContextCompacted {
                through_step,
                tokens_before: fixed + before,
                tokens_after: fixed + after,
                method,
            },
        );
        Ok(())
    }

    /// Notes how many tokens the provider has counted for a prompt: estimates of the next are corrected
    /// by it.
    pub(super) fn learn_count(&mut self, request: &ChatRequest, counted_tokens: u64) {
        let estimated = model::tokens::estimate_request(request).max(1);
        self.state.counted_per_estimated =
            (counted_tokens as f64 / estimated as f64).clamp(0.5, 4.0);
    }

    fn counted(&self, estimated_tokens: u64) -> u64 {
        share(estimated_tokens, self.counted_per_estimated())
    }

    fn counted_per_estimated(&self) -> f64 {
        let known = self.state.counted_per_estimated;
        if known > 0.0 { known } else { 1.0 }
    }
}

/// Steps as one text, for a model to read.
fn transcript(task: &str, before: Option<&str>, messages: &[Message]) -> String {
    let mut text = format!("Task: {task}\n");
    if let Some(before) = before {
        text.push_str(&format!("Before: {before}\n"));
    }
    for message in messages {
        match message {
            Message::Assistant { content, tool_calls, .. } => {
                if !content.trim().is_empty() {
                    text.push_str(&format!("Assistant: {content}\n"));
                }
                for call in tool_calls {
                    text.push_str(&format!("Call of `{}`: {}\n", call.tool, call.args));
                }
            }
            Message::Tool { tool, content, .. } => {
                text.push_str(&format!("Result of `{tool}`: {content}\n"));
            }
            Message::Note { content, .. } | Message::User { content } => {
                text.push_str(&format!("Note: {content}\n"));
            }
            Message::System { .. } | Message::Summary { .. } => {}
        }
    }
    text
}

/// Steps by the beginnings of what was said, called and found.
fn extract(before: Option<&str>, messages: &[Message], most_tokens: u64) -> String {
    let before = before.map(|before| before.strip_prefix(HEADING).unwrap_or(before));
    let mut lines: Vec<String> =
        before.iter().flat_map(|before| before.lines()).map(str::to_owned).collect();
    for message in messages {
        match message {
            Message::Assistant { content, tool_calls, .. } => {
                if !content.trim().is_empty() {
                    lines.push(format!("- said: {}", beginning(content)));
                }
                for call in tool_calls {
                    let args = beginning(&call.args.to_string());
                    lines.push(format!("- called `{}` {args}", call.tool));
                }
            }
            Message::Tool { tool, content, is_error, .. } => {
                let how = if *is_error { "failed" } else { "found" };
                lines.push(format!("  `{tool}` {how}: {}", beginning(content)));
            }
            Message::System { .. }
            | Message::Note { .. }
            | Message::Summary { .. }
            | Message::User { .. } => {}
        }
    }
    newest_lines(lines, usize::try_from(most_tokens * 4).unwrap_or(usize::MAX))
}
