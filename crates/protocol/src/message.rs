//! The conversation between the agent and a model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    context::SentContext,
    id::{CallId, MemoryId, RunId},
    time::Timestamp,
};

/// One entry of a conversation, as the working state keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// How a run begins: the system prompt. The first message of every run, written once.
    System {
        /// The words.
        content: String,
        /// The core memories that stand in them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        core: Vec<ToldCore>,
        /// The older turns of the session that stand in them as a summary.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folded: Option<FoldedTurns>,
        /// The runs whose turns stand in the prompt as they were, oldest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        turns: Vec<RunId>,
    },
    /// What the runtime tells the model in the middle of a run.
    Note {
        /// The words.
        content: String,
        /// The memories that were found and stand in them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recalled: Vec<RecalledMemory>,
        /// The core memories that have changed and stand in them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        core: Vec<ToldCore>,
    },
    /// What older steps of the run came to, in their place.
    Summary {
        /// The words.
        content: String,
        /// The first message of the run that is not folded into it: those before it but for system
        /// prompt and task are.
        kept_from: u32,
        /// Results among it that are worth reading again, which the words name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        results: Vec<FoldedResult>,
    },
    /// What the user asked.
    User {
        /// The text of the message.
        content: String,
    },
    /// What the model answered, and the calls that it asks for.
    Assistant {
        /// The text; may be empty beside tool calls.
        content: String,
        /// The calls it asks for, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        /// The provider's own blocks (reasoning, signatures), sent back untouched to the same provider.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replay: Option<Replay>,
        /// What the model was sent for it. Never sent back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<Box<SentContext>>,
    },
    /// What a tool answered.
    Tool {
        /// The call it answers.
        tool_call_id: CallId,
        /// The tool's name.
        tool: String,
        /// The answer as the model reads it.
        content: String,
        /// Whether the tool failed.
        #[serde(default)]
        is_error: bool,
    },
}

/// How many of the first messages of a run stand in every prompt: how it begins, and its task.
pub const FIRST_MESSAGES: u32 = 2;

impl Message {
    /// What the runtime tells the model that is nothing of memory.
    pub fn notice(content: String) -> Self {
        Self::Note { content, recalled: Vec::new(), core: Vec::new() }
    }

    /// An earlier turn of a session: what was asked, and the answer if there is one. An empty answer does
    /// not enter a prompt.
    pub fn turn(input: String, output: String) -> impl Iterator<Item = Self> {
        let answer = (!output.trim().is_empty()).then(|| Self::Assistant {
            content: output,
            tool_calls: Vec::new(),
            replay: None,
            sent: None,
        });
        [Some(Self::User { content: input }), answer].into_iter().flatten()
    }

    /// The same result of a tool with no more than its first `chars` characters; anything else as it is.
    pub fn shortened(mut self, chars: usize) -> Self {
        if let Self::Tool { content, tool_call_id, .. } = &mut self
            && let Some((end, _)) = content.char_indices().nth(chars)
        {
            content.truncate(end);
            content.push_str(&format!(
                "\n[… the rest of the result of `{tool_call_id}` is left out here, from offset {chars} \
                 on …]"
            ));
        }
        self
    }

    /// The words.
    pub fn content(&self) -> &str {
        match self {
            Self::System { content, .. }
            | Self::Note { content, .. }
            | Self::Summary { content, .. }
            | Self::User { content }
            | Self::Assistant { content, .. }
            | Self::Tool { content, .. } => content,
        }
    }
}

/// A memory that a model was told because a search had found it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RecalledMemory {
    /// The memory.
    pub id: MemoryId,
    /// How well it fitted.
    pub score: f64,
}

/// A result of a tool that was folded into a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedResult {
    /// The call.
    pub id: CallId,
    /// What was called.
    pub tool: String,
    /// The beginning of its arguments.
    pub args: String,
}

/// A core memory as a model was told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldCore {
    /// The memory.
    pub id: MemoryId,
    /// Which state of it; none when the model was told that it is no longer there.
    pub updated_at: Option<Timestamp>,
}

/// Older turns of a session, folded into a summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedTurns {
    /// The run of the newest turn among them.
    pub through: RunId,
    /// What they came to.
    pub summary: String,
}

/// A tool call that a model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolCall {
    /// Ours, derived; never the model's.
    pub id: CallId,
    /// The tool's name, as the model said it.
    pub tool: String,
    /// The arguments: an object, or the unparsable text of the model as a string.
    #[schema(value_type = Value)]
    pub args: Value,
}

/// Opaque blocks of a provider, kept to be sent back to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The provider that sent them.
    pub provider: String,
    /// The blocks, unchanged.
    pub blocks: Value,
}

/// What a model call consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: u64,
    /// Of the answer, the tokens of reasoning, as far as the provider counts them.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// Tokens of the prompt that the provider had cached.
    pub cached_tokens: u64,
    /// `input_tokens + output_tokens`.
    pub total_tokens: u64,
}

impl Usage {
    /// Input and output, with the total worked out.
    pub const fn new(input_tokens: u64, output_tokens: u64, cached_tokens: u64) -> Self {
        Self {
            input_tokens,
            output_tokens,
            reasoning_tokens: 0,
            cached_tokens,
            total_tokens: input_tokens.saturating_add(output_tokens),
        }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Usage) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(more.reasoning_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(more.cached_tokens);
        self.total_tokens = self.total_tokens.saturating_add(more.total_tokens);
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// Its answer is complete.
    Stop,
    /// It wants tools called.
    ToolCalls,
    /// It reached its token limit.
    Length,
    /// The provider withheld the rest.
    ContentFilter,
}

/// The same value always gives the same text: keys sorted, no spaces.
pub fn canonical_json(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.iter().collect();
                pairs.sort_by_key(|(key, _)| *key);
                let sorted: Map<_, _> =
                    pairs.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
                Value::Object(sorted)
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
    sorted(value).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_ignores_key_order() {
        let a: Value = serde_json::from_str(r#"{"b":[{"y":1,"x":2}],"a":"中"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":"中","b":[{"x":2,"y":1}]}"#).unwrap();
        assert_eq!(canonical_json(&a), canonical_json(&b));
        assert_eq!(canonical_json(&a), r#"{"a":"中","b":[{"x":2,"y":1}]}"#);
    }

    #[test]
    fn a_message_survives_storage() {
        let message = Message::Assistant {
            content: "好".into(),
            tool_calls: vec![ToolCall {
                id: CallId::derive(crate::id::RunId::generate(), 1, 0, "t", "{}"),
                tool: "t".into(),
                args: json!({"a": 1}),
            }],
            replay: None,
            sent: None,
        };
        let stored = serde_json::to_value(&message).unwrap();
        assert_eq!(serde_json::from_value::<Message>(stored).unwrap(), message);
    }
}
