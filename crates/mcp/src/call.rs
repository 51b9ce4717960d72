//! One call of a tool: its request, its result, its errors. Sends nothing.

use std::time::Duration;

use protocol::id::CallId;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// Longest result that is kept, in bytes of compact JSON; a longer one is cut.
pub const RESULT_MAX_BYTES: usize = 1024 * 1024;

/// The text in place of content of a kind that is newer than this code.
const UNKNOWN: &str = "[content of an unknown kind, not shown]";

/// The parameters of a call besides the tool and its arguments.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Sent along as `_meta["openintern/call-id"]`, by which a server can recognise a repetition.
    pub call_id: CallId,
    /// How long to wait; the server's configured time when absent.
    pub timeout: Option<Duration>,
    /// Cancels the call and tells the server so.
    pub cancel: CancellationToken,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq)]
pub struct CallResult {
    /// The tool says that it failed; `content` says why.
    pub is_error: bool,
    /// What the model reads: the structured result, or the text. Images and sound are described.
    pub content: Value,
    /// The result was longer than [`RESULT_MAX_BYTES`]; `content` is its beginning, as text.
    pub truncated: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No server offers it. Nothing was sent.
    #[error("no tool is named `{tool}`")]
    UnknownTool {
        /// The name that was asked for.
        tool: String,
    },
    /// Its server is not running. Nothing was sent.
    #[error("MCP server `{server}` is not running: {reason}")]
    Unavailable { server: String, reason: String },
    /// No answer in time. The tool may have taken effect, or may still do so.
    #[error("no answer within {} ms", after.as_millis())]
    Timeout {
        /// How long we waited.
        after: Duration,
    },
    /// The caller gave up. The tool may have taken effect, or may still do so.
    #[error("the call was cancelled")]
    Cancelled,
    /// The server went away during the call. The tool may have taken effect.
    #[error("MCP server `{server}` went away during the call")]
    Lost { server: String },
    /// The server refused the call.
    #[error("the server refused the call: {message}")]
    Refused {
        /// What the server says, cut to a bounded length.
        message: String,
    },
    /// The server answered with something that is not a result of a tool.
    #[error("the server's answer is not a tool result: {message}")]
    Protocol { message: String },
}

impl CallError {
    /// Whether the tool may have taken effect without our knowing.
    pub fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Cancelled | Self::Lost { .. } | Self::Protocol { .. } => {
                true
            }
            Self::UnknownTool { .. } | Self::Unavailable { .. } | Self::Refused { .. } => false,
        }
    }
}

impl CallResult {
    pub(crate) fn from_sdk(result: CallToolResult) -> Self {
        let text = result.content.iter().map(describe).collect::<Vec<_>>().join("\n");
        let content = match result.structured_content.filter(|structured| !structured.is_null()) {
            None => Value::String(text),
            Some(structured) if is_rendering(&result.content, &structured) => structured,
            Some(structured) => json!({"text": text, "structured": structured}),
        };
        let (content, truncated) = bound(content);
        Self { is_error: result.is_error.unwrap_or(false), content, truncated }
    }
}

/// Servers repeat a structured result as text for older clients; the model need not read it twice.
/// Only a text that says the same is left out.
fn is_rendering(content: &[ContentBlock], structured: &Value) -> bool {
    let texts: Vec<&str> = content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    if texts.len() < content.len() {
        return false;
    }
    let whole = texts.join("\n");
    if whole.trim().is_empty() {
        return true;
    }
    let says = |text: &str, value: &Value| {
        value.as_str() == Some(text)
            || serde_json::from_str::<Value>(text).is_ok_and(|said| said == *value)
    };
    // A plain result is wrapped, since structured content had to be an object.
    let fields = structured.as_object().filter(|fields| fields.len() == 1);
    let wrapped = fields.and_then(|fields| fields.get("result"));
    [Some(structured), wrapped].into_iter().flatten().any(|value| {
        says(&whole, value)
            || value.as_array().is_some_and(|items| {
                // A list is a text for each of its items.
                items.len() == texts.len()
                    && items.iter().zip(&texts).all(|(item, text)| says(text, item))
            })
    })
}

fn describe(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => media("image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => media("audio", &audio.mime_type, &audio.data),
        ContentBlock::ResourceLink(link) => format!("[resource {}: {}]", link.name, link.uri),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                media("resource", mime_type.as_deref().unwrap_or("unknown type"), blob)
            }
            _ => UNKNOWN.into(),
        },
        _ => UNKNOWN.into(),
    }
}

fn media(kind: &str, mime_type: &str, base64: &str) -> String {
    format!("[{kind}, {mime_type}, about {} bytes, not shown]", base64.len() / 4 * 3)
}

fn bound(content: Value) -> (Value, bool) {
    let mut text = content.to_string();
    if text.len() <= RESULT_MAX_BYTES {
        return (content, false);
    }
    if let Value::String(plain) = content {
        text = plain;
    }
    let digest: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let marker = format!("\n[truncated: {} bytes in all, SHA-256 {digest}]", text.len());
    // The text becomes a JSON string again, in which a character can take six times its bytes.
    let mut room = RESULT_MAX_BYTES - marker.len() - 8;
    let kept = text
        .char_indices()
        .find(|&(_, character)| {
            let bytes = json_bytes(character);
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            !fits
        })
        .map_or(text.len(), |(at, _)| at);
    text.truncate(kept);
    (Value::String(text + &marker), true)
}

fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\0'..='\x1f' => 6,
        _ => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sdk: Value, content: Value) {
        let sdk = serde_json::from_value(sdk).unwrap();
        assert_eq!(CallResult::from_sdk(sdk).content, content);
    }

    #[test]
    fn what_the_model_reads() {
        let text = |text: &str| json!({"type": "text", "text": text});
        check(json!({"content": [text("a"), text("b")]}), json!("a\nb"));
        check(json!({"content": []}), json!(""));
        check(json!({"content": [text("a")], "structuredContent": null}), json!("a"));
        check(
            json!({"content": [text("{\"n\": 1}")], "structuredContent": {"n": 1}}),
            json!({"n": 1}),
        );
        check(
            json!({"content": [text("x")], "structuredContent": {"result": "x"}}),
            json!({"result": "x"}),
        );
        check(
            json!({"content": [text("[1,2]")], "structuredContent": {"result": [1, 2]}}),
            json!({"result": [1, 2]}),
        );
        check(
            json!({"content": [text("a"), text("{\"n\":1}")], "structuredContent": {"result": ["a", {"n": 1}]}}),
            json!({"result": ["a", {"n": 1}]}),
        );
        check(
            json!({"content": [text("only 3 of 10 rows were written")], "structuredContent": {"result": "ok"}}),
            json!({"text": "only 3 of 10 rows were written", "structured": {"result": "ok"}}),
        );
        check(
            json!({"content": [text("one")], "structuredContent": {"n": 1}}),
            json!({"text": "one", "structured": {"n": 1}}),
        );
        check(
            json!({"content": [{"type": "image", "data": "AAAAAAAA", "mimeType": "image/png"}]}),
            json!("[image, image/png, about 6 bytes, not shown]"),
        );
    }

    #[test]
    fn a_long_result_is_cut_with_a_marker() {
        for unit in ["x", "字", "\"", "\u{1}"] {
            let long = unit.repeat(RESULT_MAX_BYTES);
            let sdk = json!({"content": [{"type": "text", "text": long}], "isError": true});
            let result = CallResult::from_sdk(serde_json::from_value(sdk).unwrap());
            let bytes = result.content.to_string().len();
            assert!(result.truncated && result.is_error);
            assert!(
                (RESULT_MAX_BYTES - 16..=RESULT_MAX_BYTES).contains(&bytes),
                "{unit:?} {bytes}"
            );
            assert!(result.content.as_str().unwrap().contains("SHA-256"));
        }
    }
}
