//! What the prompt of a model call was made of: recorded with the call, so that it can be shown later as
//! it was sent.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tool::ToolInfo;

/// What the prompt of a step's model call was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepContext {
    /// In the order in which the model reads them.
    pub segments: Vec<ContextSegment>,
    /// Tokens of the prompt before it was sent: estimated from characters, and corrected by what the
    /// provider had counted of the prompts before.
    pub estimated_tokens: u64,
    /// Tokens of the prompt, as the provider counted.
    pub input_tokens: u64,
    /// Of these, the tokens that the provider had cached.
    pub cached_tokens: u64,
    /// The text, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<ContextText>,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContextSegment {
    /// What it is.
    pub kind: SegmentKind,
    /// Its tokens, estimated from characters.
    pub tokens: u64,
    /// Where it comes from, by kind.
    #[serde(rename = "ref")]
    pub reference: String,
    /// How well a recalled memory fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// What a part of a prompt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// The schemas of the tools; `ref` is a digest of them.
    Tools,
    /// The agent's prompt and the day; `ref` is the agent.
    System,
    /// Core memory as it was when the run began; `ref` says how many memories.
    CoreMemory,
    /// What older turns of the session came to; `ref` is the run of the newest of them.
    HistorySummary,
    /// Earlier turns of the session as they were; `ref` is the first and the last run.
    Turns,
    /// What the run was asked; `ref` is the place of the message in the run.
    Task,
    /// What older steps of the run came to; `ref` is the place of the message.
    Summary,
    /// A memory that was recalled, in this step or one before; `ref` is its id.
    Memory,
    /// The messages of the run's steps but for recalled memories; `ref` is the first and last place.
    Steps,
    /// What is left for the answer; `ref` says by what it is bounded.
    Answer,
}

impl SegmentKind {
    /// The name, as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::System => "system",
            Self::CoreMemory => "core_memory",
            Self::HistorySummary => "history_summary",
            Self::Turns => "turns",
            Self::Task => "task",
            Self::Summary => "summary",
            Self::Memory => "memory",
            Self::Steps => "steps",
            Self::Answer => "answer",
        }
    }
}

/// The words of a prompt, whatever the provider's wire format makes of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContextText {
    /// The tools as they were described; null where they are kept no longer.
    #[schema(value_type = Option<Vec<ToolInfo>>)]
    pub tools: Option<Vec<ToolInfo>>,
    /// The system prompt.
    pub system: String,
    /// The messages, oldest first, each with its `role`.
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<Value>,
}

/// What is kept of a prompt beside its answer: enough to show it again. The words are where they were
/// written, in the messages of the run and in the runs of its earlier turns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SentContext {
    /// The step.
    pub step: u32,
    /// Its parts, in order.
    pub segments: Vec<ContextSegment>,
    /// As in [`StepContext`].
    pub estimated_tokens: u64,
    /// As in [`StepContext`].
    pub input_tokens: u64,
    /// As in [`StepContext`].
    pub cached_tokens: u64,
    /// A digest of the tools.
    pub tools: String,
    /// The place of the first message behind the task that was sent.
    pub kept_from: u32,
    /// How many messages of earlier turns were left out at the front.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut_turns: u32,
    /// Results that were shown shorter than they are written: place of the message, characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut_results: Vec<(u32, u32)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
