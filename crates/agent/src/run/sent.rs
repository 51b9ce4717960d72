//! What a model was sent in a step, part by part: recorded with its answer, by reference.

use model::{
    tokens::{estimate, estimate_message},
    tool_list::ToolList,
};
use protocol::{
    context::{ContextSegment, SegmentKind, SentContext},
    message::{FIRST_MESSAGES, Message, Usage},
};

use crate::context::{line_of, parts_of_beginning};

use super::active::ActiveRun;

impl ActiveRun<'_> {
    /// What the last prompt, which was answered, was made of. Its answer had `max_tokens` at most.
    pub(super) fn sent_context(
        &self,
        tools: &ToolList,
        estimated_tokens: u64,
        max_tokens: Option<u32>,
        usage: Usage,
    ) -> SentContext {
        let digest = tools.digest().to_owned();
        let mut segments = vec![segment(SegmentKind::Tools, tools.tokens(), digest.clone())];
        segments.extend(self.beginning_segments());
        segments.extend(self.turns_segment());
        let task = estimate_message(&Message::User { content: self.claim.input.clone() });
        segments.push(segment(SegmentKind::Task, task, (FIRST_MESSAGES - 1).to_string()));
        segments.extend(self.step_segments());
        segments.push(self.answer_segment(max_tokens, estimated_tokens));
        SentContext {
            step: self.step,
            segments,
            estimated_tokens,
            input_tokens: usage.input_tokens,
            cached_tokens: usage.cached_tokens,
            tools: digest,
            kept_from: self.conversation.recent_from(),
            cut_turns: u32::try_from(self.state.cut_turns).unwrap_or(u32::MAX),
            cut_results: self.state.cut_results.iter().map(|(at, chars)| (*at, *chars)).collect(),
        }
    }

    fn beginning_segments(&self) -> Vec<ContextSegment> {
        let Some(beginning @ Message::System { core, folded, .. }) = self.conversation.beginning()
        else {
            return Vec::new();
        };
        let through = folded.as_ref().map(|folded| folded.through.to_string());
        let parts = parts_of_beginning(beginning).into_iter();
        let segment_of = |(kind, text): (SegmentKind, &str)| {
            let reference = if kind == SegmentKind::CoreMemory {
                format!("{} memories", core.len())
            } else if kind == SegmentKind::HistorySummary {
                through.clone().unwrap_or_default()
            } else {
                self.claim.agent_id.to_string()
            };
            segment(kind, estimate(text), reference)
        };
        parts.map(segment_of).collect()
    }

    fn turns_segment(&self) -> Option<ContextSegment> {
        let (first, last) = (self.history_runs.first()?, self.history_runs.last()?);
        let tokens = self.history.iter().map(estimate_message).sum();
        let is_there = !self.history.is_empty();
        is_there.then(|| segment(SegmentKind::Turns, tokens, format!("{first}…{last}")))
    }

    /// The summary, each recalled memory, and the rest of the run's messages.
    fn step_segments(&self) -> Vec<ContextSegment> {
        let from = self.conversation.recent_from();
        let (mut summary, mut memories, mut rest) = (None, Vec::new(), 0);
        let (mut first, mut last) = (None, from);
        for (place, message) in (from..).zip(self.conversation.recent()) {
            let tokens = estimate_message(message);
            match message {
                Message::Summary { .. } => {
                    summary = Some(segment(SegmentKind::Summary, tokens, place.to_string()));
                    continue;
                }
                Message::Note { content, recalled, .. } => {
                    rest += tokens;
                    for memory in recalled {
                        let tokens = estimate(line_of(memory.id, content));
                        rest -= tokens.min(rest);
                        let told = segment(SegmentKind::Memory, tokens, memory.id.to_string());
                        memories.push(ContextSegment { score: Some(memory.score), ..told });
                    }
                }
                Message::System { .. }
                | Message::User { .. }
                | Message::Assistant { .. }
                | Message::Tool { .. } => rest += tokens,
            }
            first.get_or_insert(place);
            last = place;
        }
        let steps = first.map(|first| segment(SegmentKind::Steps, rest, format!("{first}-{last}")));
        summary.into_iter().chain(memories).chain(steps).collect()
    }

    fn answer_segment(&self, max_tokens: Option<u32>, prompt_tokens: u64) -> ContextSegment {
        match max_tokens {
            Some(most) => segment(SegmentKind::Answer, most.into(), "max_tokens".into()),
            None => {
                let left = self.context_tokens().saturating_sub(prompt_tokens);
                segment(SegmentKind::Answer, left, "context_tokens".into())
            }
        }
    }
}

fn segment(kind: SegmentKind, tokens: u64, reference: String) -> ContextSegment {
    ContextSegment { kind, tokens, reference, score: None }
}
