//! An answer while it comes in: every part bounded, whatever the wire format.

use protocol::message::{FinishReason, Usage};
use serde_json::Value;

use crate::{
    chat::RequestedCall,
    error::ModelError,
    json,
    limits::{
        CALL_ARGS_MAX_BYTES, CALL_NAME_MAX_BYTES, CALLS_MAX, REASONING_MAX_BYTES, TEXT_MAX_BYTES,
        check,
    },
};

/// What one event of a stream means.
#[derive(Debug, PartialEq)]
pub(crate) enum Increment {
    Text(String),
    /// A part of a tool call or of the reasoning.
    Part,
    /// Nothing of the answer itself.
    Nothing,
    End,
}

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct PartialAnswer {
    pub(crate) text: String,
    pub(crate) calls: Vec<PartialCall>,
    /// The provider's reason to stop; without it the answer has broken off.
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Option<Usage>,
    /// Opaque blocks for [`protocol::message::Replay`].
    pub(crate) replay: Option<Value>,
}

/// A tool call that may still grow.
#[derive(Debug, Default)]
pub(crate) struct PartialCall {
    pub(crate) tool: String,
    /// JSON as far as it has come.
    pub(crate) args: String,
}

impl PartialAnswer {
    /// Appends text and gives it back as it was kept: U+0000, which no database text can hold,
    /// is replaced.
    pub(crate) fn push_text(&mut self, text: String) -> Result<Increment, ModelError> {
        if text.is_empty() {
            return Ok(Increment::Nothing);
        }
        check("TEXT_MAX_BYTES", self.text.len() + text.len(), TEXT_MAX_BYTES)?;
        let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
        self.text.push_str(&text);
        Ok(Increment::Text(text))
    }

    /// Begins a tool call and gives its place.
    pub(crate) fn open_call(&mut self) -> Result<usize, ModelError> {
        check("CALLS_MAX", self.calls.len() + 1, CALLS_MAX)?;
        self.calls.push(PartialCall::default());
        Ok(self.calls.len() - 1)
    }

    /// Appends to the call at a place that `open_call` gave.
    pub(crate) fn extend_call(
        &mut self,
        place: usize,
        name: &str,
        args: &str,
    ) -> Result<(), ModelError> {
        let Some(call) = self.calls.get_mut(place) else { return Ok(()) };
        check("CALL_NAME_MAX_BYTES", call.tool.len() + name.len(), CALL_NAME_MAX_BYTES)?;
        check("CALL_ARGS_MAX_BYTES", call.args.len() + args.len(), CALL_ARGS_MAX_BYTES)?;
        call.tool.push_str(name);
        call.args.push_str(args);
        Ok(())
    }

    /// The reason to stop, by what really came: some servers say `stop` beside tool calls.
    pub(crate) fn finish_reason(&self) -> Option<FinishReason> {
        match self.finish? {
            FinishReason::Stop | FinishReason::ToolCalls if self.calls.is_empty() => {
                Some(FinishReason::Stop)
            }
            FinishReason::Stop | FinishReason::ToolCalls => Some(FinishReason::ToolCalls),
            other @ (FinishReason::Length | FinishReason::ContentFilter) => Some(other),
        }
    }
}

impl PartialCall {
    /// The call as the agent gets it.
    pub(crate) fn into_requested(self) -> RequestedCall {
        let args = match self.args.trim() {
            "" => Value::Object(serde_json::Map::new()), // A tool without arguments.
            text => match json::parse::<Value>(text) {
                Ok(args @ Value::Object(_)) => args,
                Ok(_) | Err(_) => Value::String(self.args),
            },
        };
        RequestedCall { tool: self.tool, args }
    }
}

/// Appends to reasoning that is kept for replay.
pub(crate) fn extend_reasoning(kept: &mut String, more: &str) -> Result<(), ModelError> {
    check("REASONING_MAX_BYTES", kept.len() + more.len(), REASONING_MAX_BYTES)?;
    kept.push_str(more);
    Ok(())
}
