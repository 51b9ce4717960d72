//! A request to a model and its answer, whatever the wire format.

use std::time::Duration;

use protocol::{
    message::{FinishReason, Message, Replay, Usage},
    output::ResponseFormat,
};
use serde_json::{Value, json};

use crate::{
    error::ModelError,
    tokens::{estimate, estimate_message},
    tool_list::ToolList,
};

/// A provider and one of its models; written `<provider>/<model>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelRef {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The provider's name for the model; may itself contain `/`.
    pub model: String,
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// The tool by which a model gives an answer that matches a schema, where it has no other way.
pub const ANSWER_TOOL: &str = "final_answer";

/// One request to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The provider: see `Models::resolve`.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// The system prompt; may be empty.
    pub system: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: ToolList,
    /// Sampling temperature; the provider's default when absent.
    pub temperature: Option<f64>,
    /// Most tokens of the answer; the provider's default when absent.
    pub max_tokens: Option<u32>,
    /// The schema that an answer in words must match. The messages say so already; here the provider
    /// is held to it as well as it can be.
    pub response_format: Option<ResponseFormat>,
    /// What helps the provider to find the prompt's beginning in its cache.
    pub cache: CacheHints,
}

/// What helps a provider to find the beginning of a prompt in its cache. It changes no prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheHints {
    /// How many of the first messages other requests begin with, too.
    pub shared_messages: usize,
    /// Requests with the same key begin alike.
    pub key: Option<String>,
}

impl ChatRequest {
    /// Tokens of everything that it sends, estimated.
    pub fn estimated_tokens(&self) -> u64 {
        let messages: u64 = self.messages.iter().map(estimate_message).sum();
        let format = self.response_format.as_ref().map(|format| format.schema().to_string());
        estimate(&self.system)
            + messages
            + self.tools.tokens()
            + format.map_or(0, |format| estimate(&format))
    }

    /// What it and its answer use, estimated. The reasoning is a part of the answer.
    pub(crate) fn estimated_usage<'a>(
        &self,
        answer: impl IntoIterator<Item = &'a str>,
        reasoning: &str,
    ) -> Usage {
        let reasoning_tokens = estimate(reasoning);
        let said: u64 = answer.into_iter().map(estimate).sum();
        let usage = Usage::new(self.estimated_tokens(), said + reasoning_tokens, 0);
        Usage { reasoning_tokens, ..usage }
    }

    /// The model that it asks.
    pub fn model_ref(&self) -> ModelRef {
        ModelRef { provider: self.provider.clone(), model: self.model.clone() }
    }
}

/// A tool call that the model asks for. It gets its id from the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestedCall {
    /// The tool's name as the model said it; it may not exist.
    pub tool: String,
    /// An object; or, where the model's text is no JSON object, that text as a string.
    pub args: Value,
}

/// An answer whose end has been seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatResponse {
    pub provider: String,
    pub model: String,
    /// The words; may be empty beside tool calls.
    pub content: String,
    /// The calls it asks for, in order.
    pub tool_calls: Vec<RequestedCall>,
    /// Opaque blocks to be sent back with this message.
    pub replay: Option<Replay>,
    /// The answer is not whole; what there is of it is `content`.
    pub cut: Option<AnswerCut>,
    pub finish_reason: FinishReason,
    /// As the provider counts; estimated from the characters where it does not say.
    pub usage: Usage,
    /// By the price table; 0 for a model that is not in it.
    pub cost_usd: f64,
    /// Milliseconds from the call to the first text or tool call of the attempt that succeeded.
    pub time_to_first_token_ms: u64,
    /// Milliseconds from the call to the end, failed attempts included.
    pub duration_ms: u64,
    /// How often the provider was asked.
    pub attempts: u32,
}

/// In which way an answer is incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerCut {
    /// The cause of the cut.
    pub by: CutBy,
    /// Tools that it was about to call: these calls may not be whole, and are not to be made.
    pub calls: Vec<String>,
}

/// What cut an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutBy {
    /// A bound on tokens: this one, or the model's own.
    Length { max_tokens: Option<u32> },
    /// The provider's filter, in its words.
    ContentFilter { words: String },
    /// It holds something besides words and calls that is not kept, such as an image. What it says and
    /// calls is whole.
    LeftOut { what: String },
    /// The arguments of a call end in the middle, though the provider says that it is done.
    BrokenOff,
}

impl std::fmt::Display for AnswerCut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.by {
            CutBy::Length { max_tokens: Some(most) } => {
                write!(f, "the answer was cut at `max_tokens` = {most}")?;
            }
            CutBy::Length { max_tokens: None } => {
                write!(f, "the answer was cut at the model's own limit on tokens")?;
            }
            CutBy::ContentFilter { words } => {
                write!(
                    f,
                    "the provider's content filter withheld the rest of the answer: {words}"
                )?;
            }
            CutBy::LeftOut { what } => write!(f, "the answer holds {what}, which is not kept")?,
            CutBy::BrokenOff => write!(f, "the answer ends in the middle of a tool call")?,
        }
        match self.calls.as_slice() {
            [] => Ok(()),
            [tool] => write!(f, "; its call of `{tool}` was not made"),
            tools => write!(f, "; its calls of `{}` were not made", tools.join("`, `")),
        }
    }
}

/// What happens while a model answers.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// More text of the current attempt.
    Text(String),
    /// An attempt failed; another follows.
    AttemptFailed {
        error: ModelError,
        /// Which attempt, from 1.
        attempt: u32,
        /// When the next one begins.
        retry_in: Duration,
        /// Text was already emitted, and is void.
        void: bool,
    },
    /// An attempt that failed was counted by the provider, and is paid for.
    Spent { usage: Usage, cost_usd: f64 },
    /// A tool is not offered to this model: its provider has refused it.
    ToolLeftOut { tool: String, reason: String },
    /// The whole answer, or what there is of one that was cut. Nothing follows.
    Done(Box<ChatResponse>),
}

/// Arguments as an object: providers refuse a history with text that is not JSON.
pub(crate) fn parsable(args: &Value) -> Value {
    match args {
        Value::Object(_) => args.clone(),
        other => json!({"unparsable": other}),
    }
}
