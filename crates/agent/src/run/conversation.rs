//! What a worker keeps in memory of a run's conversation: its beginning, its task, and all that was
//! said since the last summary. All of it is in the database, message by message. Pure.
//!
//! A message is never changed or moved: a prompt is the one before with something at its end. Only a
//! summary takes the place of what it folds.

use protocol::message::{FIRST_MESSAGES, FoldedResult, Message, ToolCall};

#[derive(Debug, Default)]
pub(super) struct RunConversation {
    beginning: Option<Message>,
    task: Option<Message>,
    /// What follows the task and is not folded into a summary; the summary itself among it.
    recent: Vec<Message>,
    /// The place of the first of `recent` in the whole conversation.
    recent_from: u32,
    /// Tokens of the beginning and the task.
    first_tokens: u64,
    /// Tokens of `recent`.
    recent_tokens: u64,
}

/// Older steps, to be folded into a summary.
pub(super) struct Folding<'a> {
    /// What they came to before: the words of the last summary, and the results that it names.
    pub(super) before: Option<(&'a str, &'a [FoldedResult])>,
    /// Their messages.
    pub(super) messages: &'a [Message],
    /// The place of the first message that stays.
    pub(super) kept_from: u32,
    /// How many steps stay.
    pub(super) kept_steps: u32,
    /// Tokens of those that do not, estimated.
    pub(super) tokens: u64,
}

impl RunConversation {
    /// As it was read back: the first messages, and those from `recent_from` on.
    pub(super) fn restored(first: Vec<Message>, recent: Vec<Message>, recent_from: u32) -> Self {
        let mut conversation = Self::default();
        first.into_iter().for_each(|message| conversation.push(message));
        conversation.recent_from = recent_from.max(FIRST_MESSAGES);
        recent.into_iter().for_each(|message| conversation.push(message));
        conversation
    }

    /// Adds a message. A summary drops what it folds.
    pub(super) fn push(&mut self, message: Message) {
        let added = tokens(&message);
        match message {
            Message::System { .. } if self.beginning.is_none() => {
                self.first_tokens += added;
                self.beginning = Some(message);
            }
            Message::User { .. } if self.task.is_none() => {
                self.first_tokens += added;
                self.task = Some(message);
                self.recent_from = FIRST_MESSAGES;
            }
            Message::Summary { kept_from, .. } => {
                let folded = kept_from.saturating_sub(self.recent_from) as usize;
                let folded = self.recent.drain(..folded.min(self.recent.len()));
                self.recent_tokens -= folded.map(|message| tokens(&message)).sum::<u64>();
                self.recent_tokens += added;
                self.recent_from = self.recent_from.max(kept_from);
                self.recent.push(message);
            }
            Message::System { .. }
            | Message::Note { .. }
            | Message::User { .. }
            | Message::Assistant { .. }
            | Message::Tool { .. } => {
                self.recent_tokens += added;
                self.recent.push(message);
            }
        }
    }

    pub(super) fn beginning(&self) -> Option<&Message> {
        self.beginning.as_ref()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.task.is_some()
    }

    /// The system prompt.
    pub(super) fn system(&self) -> &str {
        match &self.beginning {
            Some(Message::System { content, .. }) => content,
            _ => "",
        }
    }

    pub(super) fn recent(&self) -> &[Message] {
        &self.recent
    }

    /// The place of the first message that is kept in memory, in the whole conversation.
    pub(super) fn recent_from(&self) -> u32 {
        self.recent_from
    }

    /// Tokens of the beginning and the task, estimated.
    pub(super) fn first_tokens(&self) -> u64 {
        self.first_tokens
    }

    /// Tokens of what follows them, estimated.
    pub(super) fn recent_tokens(&self) -> u64 {
        self.recent_tokens
    }

    /// What a prompt has of the run behind earlier turns of its session: the task, what older steps
    /// came to, and the rest as it was.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        let summary = self.recent.iter().rfind(|message| is_summary(message));
        let rest = self.recent.iter().filter(|message| !is_summary(message));
        self.task.iter().chain(summary).chain(rest)
    }

    /// All steps but the newest ones that fit into so many tokens, and the last one in any case, with what
    /// the model was told since; none when there are no others.
    pub(super) fn folding(&self, most_kept_tokens: u64) -> Option<Folding<'_>> {
        let mut kept_tokens = 0;
        let mut kept_steps = 0;
        let mut end = self.recent.len();
        for block in self.recent.chunk_by(|last, next| !begins_step(last, next)).rev() {
            kept_tokens += block.iter().map(tokens).sum::<u64>();
            if kept_steps > 0 && kept_tokens > most_kept_tokens {
                break;
            }
            kept_steps += u32::from(block.iter().any(is_answer));
            end -= block.len();
        }
        let messages = self.recent.get(..end)?;
        let steps = messages.iter().filter(|message| !is_summary(message));
        let folded_tokens = steps.map(tokens).sum();
        let before = self.recent.iter().rev().find_map(|message| match message {
            Message::Summary { content, results, .. } => {
                Some((content.as_str(), results.as_slice()))
            }
            _ => None,
        });
        messages.iter().any(is_answer).then_some(Folding {
            before,
            messages,
            kept_from: self.recent_from + u32::try_from(end).unwrap_or(u32::MAX),
            kept_steps,
            tokens: folded_tokens,
        })
    }

    /// Tokens of the largest result of a tool.
    pub(super) fn largest_result_tokens(&self) -> u64 {
        self.results().map(|(_, content)| model::tokens::estimate(content)).max().unwrap_or(0)
    }

    /// The results of tools, each with its place in the whole conversation.
    pub(super) fn results(&self) -> impl Iterator<Item = (u32, &str)> {
        (self.recent_from..).zip(&self.recent).filter_map(|(place, message)| match message {
            Message::Tool { content, .. } => Some((place, content.as_str())),
            Message::System { .. }
            | Message::Note { .. }
            | Message::Summary { .. }
            | Message::User { .. }
            | Message::Assistant { .. } => None,
        })
    }

    /// Shows no more than the first characters of a result.
    pub(super) fn shorten_result(&mut self, place: u32, chars: u32) {
        let at = place.checked_sub(self.recent_from).map(|at| at as usize);
        let Some(message) = at.and_then(|at| self.recent.get_mut(at)) else { return };
        self.recent_tokens -= tokens(message);
        *message = message.clone().shortened(chars as usize);
        self.recent_tokens += tokens(message);
    }

    /// The words and the calls of the model's last answer as they are kept: no secret of ours goes
    /// out with a call.
    pub(super) fn last_answer(&self) -> (String, Vec<ToolCall>) {
        let answer = self.recent.iter().rev().find_map(|message| match message {
            Message::Assistant { content, tool_calls, .. } => {
                Some((content.clone(), tool_calls.clone()))
            }
            Message::System { .. }
            | Message::Note { .. }
            | Message::Summary { .. }
            | Message::User { .. }
            | Message::Tool { .. } => None,
        });
        answer.unwrap_or_default()
    }

    /// Whether the runtime has told the model these words, as far as they are still in the prompt.
    pub(super) fn says(&self, words: &str) -> bool {
        let mut told = self.beginning().into_iter().chain(&self.recent);
        told.any(|message| match message {
            Message::System { content, .. } | Message::Note { content, .. } => {
                content.contains(words)
            }
            Message::Summary { .. }
            | Message::User { .. }
            | Message::Assistant { .. }
            | Message::Tool { .. } => false,
        })
    }

    /// The results behind the model's last answer.
    pub(super) fn last_results(&self) -> &[Message] {
        let is_call = |message: &Message| !matches!(message, Message::Tool { .. });
        let first = self.recent.iter().rposition(is_call).map_or(0, |at| at + 1);
        self.recent.get(first..).unwrap_or_default()
    }

    /// The step that goes on here was told what is new in memory.
    pub(super) fn ends_with_memories(&self) -> bool {
        matches!(
            self.recent.last(),
            Some(Message::Note { recalled, core, .. }) if !recalled.is_empty() || !core.is_empty()
        )
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(message, Message::Assistant { .. })
}

fn is_summary(message: &Message) -> bool {
    matches!(message, Message::Summary { .. })
}

/// A step is what the model is told, its answer and the results of its calls.
fn begins_step(last: &Message, next: &Message) -> bool {
    let is_end = matches!(last, Message::Assistant { .. } | Message::Tool { .. });
    is_end && !matches!(next, Message::Tool { .. })
}

/// Tokens of a message, with what is sent back of a provider's own blocks.
fn tokens(message: &Message) -> u64 {
    let replay = match message {
        Message::Assistant { replay: Some(replay), .. } => {
            replay.blocks.to_string().len() as u64 / 4
        }
        _ => 0,
    };
    model::tokens::estimate_message(message) + replay
}

#[cfg(test)]
mod tests {
    use protocol::id::{CallId, RunId};
    use serde_json::json;

    use super::*;

    fn step(index: u32, result: &str) -> [Message; 3] {
        let id = CallId::derive(RunId::from_uuid(uuid::Uuid::nil()), index, 0, "t", "{}");
        let call = ToolCall { id, tool: "t".into(), args: json!({"n": index}) };
        let content = result.to_owned();
        [
            Message::Note { content: format!("note {index}"), recalled: vec![], core: vec![] },
            Message::Assistant {
                content: String::new(),
                tool_calls: vec![call],
                replay: None,
                sent: None,
            },
            Message::Tool { tool_call_id: id, tool: "t".into(), content, is_error: false },
        ]
    }

    fn first() -> Vec<Message> {
        let content = "S".to_owned();
        vec![
            Message::System { content, core: vec![], folded: None, turns: vec![] },
            Message::User { content: "task".into() },
        ]
    }

    fn prompt(conversation: &RunConversation) -> Vec<Message> {
        conversation.messages().cloned().collect()
    }

    #[test]
    fn a_prompt_is_the_one_before_and_more() {
        let mut conversation = RunConversation::restored(first(), Vec::new(), 0);
        let mut before = prompt(&conversation);
        for message in (0..9).flat_map(|index| step(index, "r")) {
            conversation.push(message);
            let after = prompt(&conversation);
            assert!(after.starts_with(&before) && after.len() == before.len() + 1);
            before = after;
        }
        assert_eq!(conversation.system(), "S");
    }

    #[test]
    fn a_summary_takes_the_place_of_whole_steps_and_survives_storage() {
        let mut conversation = RunConversation::restored(first(), Vec::new(), 0);
        let mut written = first();
        for index in 0..20 {
            for message in step(index, &"x".repeat(100)) {
                written.push(message.clone());
                conversation.push(message);
            }
            if index % 7 != 6 {
                continue;
            }
            let folding = conversation.folding(100).unwrap();
            assert!(matches!(folding.messages.last(), Some(Message::Tool { .. })));
            assert_eq!(folding.kept_steps, 2);
            let kept_from = folding.kept_from;
            let before = conversation.recent_tokens();
            let content = format!("until {index}");
            let summary = Message::Summary { content, kept_from, results: vec![] };
            written.push(summary.clone());
            conversation.push(summary.clone());
            assert!(conversation.recent_tokens() < before);
            let shown = prompt(&conversation);
            assert_eq!(shown[..2], [written[1].clone(), summary]);
            assert_eq!(shown[2..], written[kept_from as usize..written.len() - 1]);
            // Whoever takes the run up has the same prompt, wherever they begin to read.
            for from in [FIRST_MESSAGES, conversation.recent_from()] {
                let recent = written[from as usize..].to_vec();
                let restored = RunConversation::restored(first(), recent, from);
                assert_eq!(prompt(&restored), shown);
                assert_eq!(restored.recent_from(), kept_from);
            }
        }
        assert_eq!(conversation.last_answer().1[0].args, json!({"n": 19}));
    }

    #[test]
    fn a_result_can_be_shown_shorter() {
        let mut conversation = RunConversation::restored(first(), Vec::new(), 0);
        let steps = [step(0, &"x".repeat(4_000)), step(1, "short")];
        steps.into_iter().flatten().for_each(|message| conversation.push(message));
        let (place, before) = (FIRST_MESSAGES + 2, conversation.recent_tokens());
        assert_eq!(conversation.largest_result_tokens(), 1_000);
        conversation.shorten_result(place, 400);
        conversation.shorten_result(place, 40);
        conversation.shorten_result(place + 100, 1);
        let (at, shown) = conversation.results().next().unwrap();
        assert_eq!(at, place);
        assert!(shown.starts_with(&format!("{}\n[… the rest", "x".repeat(40))), "{shown}");
        assert!(shown.contains("from offset 40 on"), "{shown}");
        assert!(conversation.recent_tokens() < before - 900);
        assert_eq!(conversation.results().nth(1).unwrap().1, "short");
    }

    #[test]
    fn the_last_step_is_never_folded() {
        let mut conversation = RunConversation::restored(first(), Vec::new(), 0);
        step(0, &"x".repeat(10_000)).into_iter().for_each(|message| conversation.push(message));
        assert!(conversation.folding(0).is_none());
        step(1, "x").into_iter().for_each(|message| conversation.push(message));
        assert_eq!(conversation.folding(0).unwrap().messages.len(), 3);
        // What the step that is under way was told is no step yet.
        conversation.push(step(2, "x")[0].clone());
        let folding = conversation.folding(0).unwrap();
        assert_eq!((folding.messages.len(), folding.kept_steps), (3, 1));
    }
}
