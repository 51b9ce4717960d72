//! A run as a tree of spans, without payloads, and what one span took and gave.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    id::{RunId, SpanId},
    message::Usage,
    run::RunStatus,
    time::Timestamp,
};

/// A page of the spans of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TracePage {
    /// The id of the run.
    pub run_id: RunId,
    /// Its status.
    pub status: RunStatus,
    /// The `seq` of the run's last event. With `next_cursor` null, the spans are made of all events up
    /// to it: follow the run from there.
    pub last_seq: u64,
    /// In the order in which they began; a page ends with a whole step. A span that comes again on a
    /// later page takes the place of the one before.
    pub spans: Vec<TraceSpan>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// Something that a run did, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TraceSpan {
    /// Names it within the run.
    pub span_id: SpanId,
    /// The span around it; null for the run's own.
    pub parent_span_id: Option<SpanId>,
    /// What it is.
    pub kind: SpanKind,
    /// The agent, `step_0001`, `recall`, `<provider>/<model>`, the tool, or the code of a note.
    #[schema(example = "read_file")]
    pub name: String,
    /// The step that it belongs to; null for the run's own.
    pub step: Option<u32>,
    /// How it stands.
    pub status: SpanStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; null while it goes on.
    pub ended_at: Option<Timestamp>,
    /// Milliseconds from start to end; null while it goes on.
    pub duration_ms: Option<u64>,
    /// Tokens: of a model call, and of a run the sum of its calls. Null for all others.
    pub usage: Option<Usage>,
    /// What they cost, in US dollars.
    pub cost_usd: Option<f64>,
    /// Of a search for memories, how many it found; null for all others.
    pub hits: Option<u32>,
    /// The first event that it is made of.
    pub first_seq: u64,
    /// The last event that it is made of so far.
    pub last_seq: u64,
    /// Credentials were seen in one of these events.
    pub contains_secrets: bool,
}

/// What a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// The whole run.
    Run,
    /// One turn of the loop.
    Step,
    /// A search for memories.
    Memory,
    /// A call of a model.
    Llm,
    /// A call of a tool.
    Tool,
    /// A moment: a warning, a resumption, a compaction.
    Note,
}

/// How a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanStatus {
    /// It goes on.
    Running,
    /// It ended as it should.
    Ok,
    /// It failed.
    Error,
    /// It was stopped, or the run ended before it did.
    Cancelled,
}

/// What one span took and gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SpanPayload {
    /// Names it within the run.
    pub span_id: SpanId,
    /// The `seq` of each event that it is made of.
    pub events: Vec<u64>,
    /// What it was given; null where events do not say it.
    pub input: Option<SpanPart>,
    /// What it gave; null where it gave nothing yet.
    pub output: Option<SpanPart>,
    /// What else its events say, by name: outcome, effect, limits, …
    #[schema(value_type = Object, additional_properties = true)]
    pub facts: Map<String, Value>,
}

/// A range of a text, as long as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SpanPart {
    /// Whether the whole is JSON; otherwise it is plain text.
    pub is_json: bool,
    /// Bytes of the whole, in UTF-8.
    pub size: u64,
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// The whole has more than this range.
    pub truncated: bool,
    /// The range. It begins and ends with a whole character.
    pub text: String,
}
