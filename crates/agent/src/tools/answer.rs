//! The outcome of a tool call, as it is recorded and as the model reads it, within its bound.

use protocol::tool::Outcome;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What is kept of a result, in bytes of compact JSON.
const RESULT_MAX_BYTES: usize = 1024 * 1024;

/// What the model reads of a call whose end was not seen.
const UNKNOWN: &str = "The process that made this call is gone. Whether the call took effect is \
unknown: do not assume either, and do not repeat it without finding out.";

/// What the model reads of a call that nobody can allow.
const DENIED: &str = "This tool needs a person's approval, and there is no way to ask for one yet.";

/// The outcome of a call.
#[derive(Debug, PartialEq)]
pub(crate) struct ToolAnswer {
    pub(crate) result: Value,
    pub(crate) outcome: Outcome,
    pub(crate) truncated: bool,
}

impl ToolAnswer {
    pub(crate) fn ok(result: Value) -> Self {
        Self { result, outcome: Outcome::Ok, truncated: false }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self { result: Value::String(message.into()), outcome: Outcome::Error, truncated: false }
    }

    /// A call that a lost worker sent or may have sent.
    pub(crate) fn unknown() -> Self {
        Self { result: UNKNOWN.into(), outcome: Outcome::Unknown, truncated: false }
    }

    /// A call that a person would have to allow.
    pub(crate) fn denied() -> Self {
        Self { result: DENIED.into(), outcome: Outcome::Denied, truncated: false }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.outcome != Outcome::Ok
    }

    /// As the model reads it.
    pub(crate) fn text(&self) -> String {
        text_of(&self.result)
    }

    /// Cut to what is kept of one result, and to `most_bytes`, with a note that says so.
    pub(crate) fn bounded(self, most_bytes: usize) -> Self {
        let most_bytes = most_bytes.min(RESULT_MAX_BYTES);
        let text = self.text();
        if text.len() <= most_bytes {
            return self;
        }
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let kept = text.get(..text.floor_char_boundary(most_bytes)).unwrap_or_default();
        let note = format!("[… cut: {} bytes in all, sha256 {hex}]", text.len());
        Self { result: Value::String(format!("{kept}\n{note}")), truncated: true, ..self }
    }
}

/// A result as one text.
pub(crate) fn text_of(result: &Value) -> String {
    match result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
