//! Collects what happens in a run and writes it, one commit for what belongs together.
//!
//! Events wait here only as long as nobody can miss them: until a tool is to be called, a step ends, or
//! a few milliseconds have passed. Everything that a worker writes about a run passes through here,
//! so this is where credentials are masked.

use protocol::{
    event::Fact,
    id::{CallId, RunId, SpanId},
    message::Message,
};
use store::{
    journal::{End, Entry, Journal, JournalError, NewCheckpoint, NewDelta, NewEvent, Totals},
    stream::StreamCursor,
};

use crate::redactor::{Reach, Redactor};

/// What an event speaks of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventSpan {
    Run,
    Step(u32),
    ModelCall(u32),
    ToolCall(u32, CallId),
}

pub(crate) struct Recorder {
    run_id: RunId,
    journal: Journal,
    redactor: Redactor,
    pending: Entry,
    /// Text that is not in a delta yet, as the model said it.
    text: String,
    /// Whether text has come since the last delta.
    has_fresh_text: bool,
    /// Deltas after the last event.
    deltas: u64,
    messages_written: u32,
    /// A commit was begun and dropped: whether it was written is unknown.
    interrupted: bool,
}

impl Recorder {
    pub(crate) fn new(
        run_id: RunId,
        journal: Journal,
        redactor: Redactor,
        messages_written: u32,
    ) -> Self {
        let pending = Entry { messages_at: messages_written, ..Entry::default() };
        Self {
            run_id,
            journal,
            redactor,
            pending,
            text: String::new(),
            has_fresh_text: false,
            deltas: 0,
            messages_written,
            interrupted: false,
        }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Adds an event, without the secrets in it, after the text that the model said before it.
    pub(crate) fn record(&mut self, span: EventSpan, mut fact: Fact) {
        let contains_secrets = self.redactor.clean_fact(&mut fact);
        let run = SpanId::derive(self.run_id, "run");
        let of_step = |step: u32| SpanId::derive(self.run_id, &format!("step:{step}"));
        let (step, span_id, parent_span_id) = match span {
            EventSpan::Run => (None, run, None),
            EventSpan::Step(step) => (Some(step), of_step(step), Some(run)),
            EventSpan::ModelCall(step) => (
                Some(step),
                SpanId::derive(self.run_id, &format!("step:{step}:model")),
                Some(of_step(step)),
            ),
            EventSpan::ToolCall(step, call) => {
                (Some(step), SpanId::derive(self.run_id, &call.to_string()), Some(of_step(step)))
            }
        };
        self.pending.events.push(NewEvent {
            fact,
            step,
            span_id,
            parent_span_id,
            contains_secrets,
        });
        self.deltas = 0;
    }

    /// Adds text of the model's answer.
    pub(crate) fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.has_fresh_text = true;
    }

    /// Makes a delta of the text that was said since the last one, but for an end of it that could
    /// be the beginning of a secret: that waits for what follows.
    pub(crate) fn cut_delta(&mut self, step: u32) {
        let waiting = self.text.split_off(self.redactor.settled_bytes(&self.text));
        self.end_text(step);
        self.text = waiting;
    }

    /// Makes a delta of all remaining text: none follows.
    pub(crate) fn end_text(&mut self, step: u32) {
        let text = std::mem::take(&mut self.text);
        self.has_fresh_text = false;
        if !text.is_empty() {
            let text = self.redactor.redacted(&text, Reach::Known).into_owned();
            self.delta(step, Some(text));
        }
    }

    /// Tells followers that the step's text so far is void.
    pub(crate) fn void_text(&mut self, step: u32) {
        self.forget_text();
        self.delta(step, None);
    }

    fn forget_text(&mut self) {
        self.text.clear();
        self.has_fresh_text = false;
    }

    fn delta(&mut self, step: u32, text: Option<String>) {
        self.deltas += 1;
        let seq = self.journal.last_seq() + self.pending.events.len() as u64;
        self.pending.deltas.push(NewDelta { at: StreamCursor { seq, n: self.deltas }, step, text });
    }

    pub(crate) fn set_model(&mut self, mut model: String) {
        self.redactor.clean_known(&mut model);
        self.pending.model = Some(model);
    }

    pub(crate) fn set_totals(&mut self, totals: Totals) {
        self.pending.totals = Some(totals);
    }

    /// Adds a message to the conversation, and returns it as it is stored: without secrets.
    pub(crate) fn append(&mut self, mut message: Message) -> Message {
        self.redactor.clean_message(&mut message);
        if let Message::Assistant { tool_calls, replay, .. } = &mut message {
            tool_calls.iter_mut().for_each(|call| order_keys(&mut call.args));
            replay.iter_mut().for_each(|replay| order_keys(&mut replay.blocks));
        }
        self.pending.messages.push(message.clone());
        message
    }

    /// Ends the step: the conversation so far is what the run continues from.
    pub(crate) fn checkpoint(&mut self, step: u32, mut state: serde_json::Value) {
        self.redactor.clean_value(&mut state, Reach::Known);
        let message_count = self.messages_written + as_count(self.pending.messages.len());
        self.pending.checkpoint = Some(NewCheckpoint { step, message_count, state });
    }

    pub(crate) fn end(&mut self, mut end: End) {
        self.redactor.clean_end(&mut end);
        self.pending.end = Some(end);
    }

    /// Marks the final output as cut.
    pub(crate) fn cut_output(&mut self) {
        self.pending.output_cut = true;
    }

    /// Marks the final output as JSON that matches the schema of the run.
    pub(crate) fn json_output(&mut self) {
        self.pending.output_is_json = true;
    }

    /// Notes that memories are to be made of the run.
    pub(crate) fn remember(&mut self) {
        self.pending.remember = true;
    }

    /// Drops everything that was not written.
    pub(crate) fn discard(&mut self) {
        self.forget_text();
        self.deltas = 0;
        self.pending = Entry { messages_at: self.messages_written, ..Entry::default() };
    }

    /// A commit was begun and its future dropped: what is pending may have been written already.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.has_fresh_text || !self.pending.events.is_empty() || !self.pending.deltas.is_empty()
    }

    /// Writes everything that was added since the last commit, or nothing.
    pub(crate) async fn commit(&mut self) -> Result<(), JournalError> {
        self.interrupted = true;
        let written = self.journal.commit(&self.pending).await;
        self.interrupted = false;
        written?;
        self.messages_written += as_count(self.pending.messages.len());
        self.pending = Entry { messages_at: self.messages_written, ..Entry::default() };
        Ok(())
    }
}

fn as_count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

/// Keys as PostgreSQL's `jsonb` keeps them, by length and then by bytes: a message that was read back
/// is sent as it was before.
pub(crate) fn order_keys(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            let mut entries: Vec<_> = std::mem::take(fields).into_iter().collect();
            entries.sort_by(|(one, _), (other, _)| {
                one.len().cmp(&other.len()).then_with(|| one.cmp(other))
            });
            entries.iter_mut().for_each(|(_, value)| order_keys(value));
            fields.extend(entries);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(order_keys),
        _ => {}
    }
}
