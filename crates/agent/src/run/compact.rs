//! Compaction: when the prompt of a run has become large, its older steps are folded into a summary.
//!
//! The summary is a message of the run like any other: it is written once, with an event, and whoever
//! takes the run up has it. The task is never folded, and a call never parted from its result. What a
//! provider refuses even so is cut by harder means in `shrink`.

use std::collections::HashMap;

use protocol::{
    event::{CompactionMethod, Fact},
    message::{FoldedResult, Message},
};

use crate::{
    context::{chars_within, share},
    history::{beginning, newest_lines},
    recorder::EventSpan,
    tools::{ToolSet, results::RESULT_READ},
};

use super::{
    active::ActiveRun,
    conversation::Folding,
    stop::StopReason,
    summary::{Summarise, Summary},
};

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
/// Of what steps may take, the share of the list of results that can be read again.
const RESULTS_SHARE: f64 = 0.1;
/// Most results in this list.
const RESULTS_MAX: usize = 40;
/// Fewest tokens of a result that is worth reading again: a summary has the gist of a smaller one.
const RESULT_MIN_TOKENS: u64 = 100;
/// How often the model is asked for a summary, each time of less, when it finds the steps too long.
const SUMMARY_TRIES_MAX: u32 = 3;

/// What stands before a summary in a prompt.
const HEADING: &str = "## What was done so far (older steps of this task, summarised)\n";
/// What stands before the results that can be read again.
const RESULTS_HEADING: &str = "\n\n## Results of it that can be read again by their ids\n";

impl ActiveRun<'_> {
    /// Folds older steps if the prompt has become too large and enough of it can be folded.
    pub(super) async fn compact(&mut self, tools: &ToolSet) -> Result<(), StopReason> {
        self.fold_steps(tools, FOLDED_SHARE).await.map(drop)
    }

    /// Folds older steps if the prompt is too large, and if they are at least this share of what steps
    /// may take. Says whether it did.
    pub(super) async fn fold_steps(
        &mut self,
        tools: &ToolSet,
        least_share: f64,
    ) -> Result<bool, StopReason> {
        let budget = self.context_tokens();
        let history: u64 = self.history.iter().map(model::tokens::estimate_message).sum();
        let fixed = self.counted(tools.told.tokens() + history + self.conversation.first_tokens());
        let most = share(budget, COMPACT_AT).min(budget.saturating_sub(self.answer_tokens()));
        let room = most.saturating_sub(fixed).max(share(budget, STEPS_SHARE));
        let before = self.counted(self.conversation.recent_tokens());
        if before <= room {
            return Ok(false);
        }
        // As they are estimated: what is kept is estimated, too.
        let kept_tokens = share(room, KEPT_SHARE / self.counted_per_estimated());
        let Some(folding) = self.conversation.folding(kept_tokens) else { return Ok(false) };
        if self.counted(folding.tokens) < share(room, least_share) {
            return Ok(false);
        }
        let summary_tokens = share(room, SUMMARY_SHARE).min(SUMMARY_MAX_TOKENS);
        let (kept_from, through_step) =
            (folding.kept_from, self.step.saturating_sub(1).saturating_sub(folding.kept_steps));
        let before_words = folding.before.map(|(content, results)| words_of(content, results));
        let results = match self.agent.may_call(RESULT_READ) {
            true => results_of(&folding, share(room, RESULTS_SHARE)),
            false => Vec::new(),
        };
        let extract = extract(before_words, folding.messages, summary_tokens);
        let messages = folding.messages.to_vec();
        let before_words = before_words.map(str::to_owned);
        let summary =
            self.summary_of_steps(before_words.as_deref(), &messages, summary_tokens).await?;
        let (summary, method) = match summary {
            Some(summary) => (summary, CompactionMethod::Model),
            None => (extract, CompactionMethod::Extractive),
        };
        let content = format!("{HEADING}{summary}{}", list_of(&results));
        self.push(Message::Summary { content, kept_from, results });
        self.state.kept_from = self.conversation.recent_from();
        self.state.cut_results.retain(|place, _| *place >= kept_from);
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
        Ok(true)
    }

    /// What steps came to, by the model; none where it gives no answer. What it is to read fits into its
    /// window, results shortened if need be.
    async fn summary_of_steps(
        &mut self,
        before: Option<&str>,
        messages: &[Message],
        summary_tokens: u64,
    ) -> Result<Option<String>, StopReason> {
        let mut most = share(self.context_tokens(), COMPACT_AT).saturating_sub(summary_tokens);
        for _ in 0..SUMMARY_TRIES_MAX {
            let estimated = share(most, 1.0 / self.counted_per_estimated());
            let text = fitting_transcript(&self.claim.input, before, messages, estimated);
            match self.summarise(Summarise::Steps, text, summary_tokens).await? {
                Summary::Words(summary) => return Ok(Some(summary)),
                Summary::TooLong => most /= 2,
                Summary::None => break,
            }
        }
        Ok(None)
    }
}

/// The words of a summary, without what stands around them.
fn words_of<'a>(content: &'a str, results: &[FoldedResult]) -> &'a str {
    let words = content.strip_prefix(HEADING).unwrap_or(content);
    words.strip_suffix(list_of(results).as_str()).unwrap_or(words)
}

/// The newest results that are worth reading again, as many as fit.
fn results_of(folding: &Folding<'_>, most_tokens: u64) -> Vec<FoldedResult> {
    let mut all: Vec<_> =
        folding.before.iter().flat_map(|(_, results)| *results).cloned().collect();
    let mut calls = HashMap::new();
    for message in folding.messages {
        match message {
            Message::Assistant { tool_calls, .. } => {
                calls.extend(tool_calls.iter().map(|call| (call.id, call)));
            }
            Message::Tool { tool_call_id, tool, content, is_error: false }
                if model::tokens::estimate(content) >= RESULT_MIN_TOKENS =>
            {
                let args = calls.get(tool_call_id).map(|call| beginning(&call.args.to_string()));
                let (id, tool) = (*tool_call_id, tool.clone());
                all.push(FoldedResult { id, tool, args: args.unwrap_or_default() });
            }
            Message::System { .. }
            | Message::Note { .. }
            | Message::Summary { .. }
            | Message::User { .. }
            | Message::Tool { .. } => {}
        }
    }
    let mut used = 0;
    let is_over = |result: &FoldedResult| {
        used += model::tokens::estimate(&line_of(result));
        used > most_tokens
    };
    let fitting = all.iter().rev().position(is_over).unwrap_or(all.len()).min(RESULTS_MAX);
    all.split_off(all.len() - fitting)
}

fn list_of(results: &[FoldedResult]) -> String {
    if results.is_empty() {
        return String::new();
    }
    format!("{RESULTS_HEADING}{}", results.iter().map(line_of).collect::<String>())
}

fn line_of(FoldedResult { id, tool, args }: &FoldedResult) -> String {
    format!("- `{id}`: `{tool}` {args}\n")
}

/// Steps as one text of at most so many tokens, for a model to read: results are shortened until the
/// whole fits.
fn fitting_transcript(
    task: &str,
    before: Option<&str>,
    messages: &[Message],
    most_tokens: u64,
) -> String {
    let mut result_tokens = most_tokens;
    loop {
        let text = transcript(task, before, messages, result_tokens);
        if model::tokens::estimate(&text) <= most_tokens {
            return text;
        }
        if result_tokens < RESULT_MIN_TOKENS {
            let keep = chars_within(&text, most_tokens);
            return text.chars().take(keep).collect();
        }
        result_tokens /= 2;
    }
}

/// Steps as one text, of each result no more than so many tokens.
fn transcript(
    task: &str,
    before: Option<&str>,
    messages: &[Message],
    result_tokens: u64,
) -> String {
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
            Message::Tool { tool_call_id, tool, content, .. } => {
                let keep = chars_within(content, result_tokens);
                let message = message.clone().shortened(keep);
                let content = message.content();
                text.push_str(&format!("Result of `{tool}` (`{tool_call_id}`): {content}\n"));
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
