//! Gathers what happens in a run and writes it: what belongs together in one commit.
//!
//! Events wait here only while nobody could miss them: until a tool is to be called, a step ends, or
//! a few milliseconds have passed.

use protocol::{
    event::Fact,
    id::{CallId, RunId, SpanId},
    message::Message,
};
use store::{
    journal::{End, Entry, Journal, JournalError, NewCheckpoint, NewDelta, NewEvent, Totals},
    stream::StreamCursor,
};

/// What an event speaks of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Span {
    Run,
    Step(u32),
    ModelCall(u32),
    ToolCall(u32, CallId),
}

pub(crate) struct Recorder {
    run_id: RunId,
    journal: Journal,
    pending: Entry,
    /// Text that was said since the last delta.
    text: String,
    /// Deltas after the last event.
    deltas: u64,
    messages_written: u32,
    /// A commit was begun and dropped: whether it was written is unknown.
    interrupted: bool,
}

impl Recorder {
    pub(crate) fn new(run_id: RunId, journal: Journal, messages_written: u32) -> Self {
        let pending = Entry { messages_at: messages_written, ..Entry::default() };
        Self {
            run_id,
            journal,
            pending,
            text: String::new(),
            deltas: 0,
            messages_written,
            interrupted: false,
        }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Notes an event. Text that was said before it belongs before it.
    pub(crate) fn record(&mut self, span: Span, fact: Fact) {
        let run = SpanId::derive(self.run_id, "run");
        let of_step = |step: u32| SpanId::derive(self.run_id, &format!("step:{step}"));
        let (step, span_id, parent_span_id) = match span {
            Span::Run => (None, run, None),
            Span::Step(step) => (Some(step), of_step(step), Some(run)),
            Span::ModelCall(step) => (
                Some(step),
                SpanId::derive(self.run_id, &format!("step:{step}:model")),
                Some(of_step(step)),
            ),
            Span::ToolCall(step, call) => {
                (Some(step), SpanId::derive(self.run_id, &call.to_string()), Some(of_step(step)))
            }
        };
        self.pending.events.push(NewEvent { fact, step, span_id, parent_span_id });
        self.deltas = 0;
    }

    /// Notes text of the model's answer.
    pub(crate) fn say(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Makes a delta of the text that was said since the last one.
    pub(crate) fn cut_delta(&mut self, step: u32) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.delta(step, Some(text));
        }
    }

    /// Voids the step's text so far, for whoever has seen it.
    pub(crate) fn void_text(&mut self, step: u32) {
        self.text.clear();
        self.delta(step, None);
    }

    fn delta(&mut self, step: u32, text: Option<String>) {
        self.deltas += 1;
        let seq = self.journal.last_seq() + self.pending.events.len() as u64;
        self.pending.deltas.push(NewDelta { at: StreamCursor { seq, n: self.deltas }, step, text });
    }

    pub(crate) fn set_model(&mut self, model: String) {
        self.pending.model = Some(model);
    }

    pub(crate) fn set_totals(&mut self, totals: Totals) {
        self.pending.totals = Some(totals);
    }

    /// Adds a message to the conversation.
    pub(crate) fn append(&mut self, message: Message) {
        self.pending.messages.push(message);
    }

    /// The step is done: what was said so far is the conversation to go on from.
    pub(crate) fn checkpoint(&mut self, step: u32, state: serde_json::Value) {
        let message_count = self.messages_written + as_count(self.pending.messages.len());
        self.pending.checkpoint = Some(NewCheckpoint { step, message_count, state });
    }

    pub(crate) fn end(&mut self, end: End) {
        self.pending.end = Some(end);
    }

    /// Forgets what was not written.
    pub(crate) fn discard(&mut self) {
        self.text.clear();
        self.deltas = 0;
        self.pending = Entry { messages_at: self.messages_written, ..Entry::default() };
    }

    /// A commit was begun and its future dropped: what is pending may have been written already.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.text.is_empty() || !self.pending.events.is_empty() || !self.pending.deltas.is_empty()
    }

    /// Writes everything noted since the last time, or nothing.
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
