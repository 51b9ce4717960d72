//! Anthropic's messages.
//!
//! Only the form: a request becomes a body, events become an answer. No IO.

use protocol::message::{FinishReason, Message, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Increment, PartialAnswer, extend_reasoning},
    chat::{ChatRequest, parsable},
    error::{ModelError, PROVIDER_MESSAGE_MAX_CHARS, cut},
    json,
    limits::{CALLS_MAX, REASONING_MAX_BYTES, check},
    sse::SseEvent,
};

/// `max_tokens` of a request that names none; Anthropic demands one.
pub(crate) const ANTHROPIC_MAX_TOKENS_DEFAULT: u32 = 8192;

/// Most content blocks of an answer: text, reasoning and calls.
const BLOCKS_MAX: usize = 4 * CALLS_MAX;

/// The body of a request. Tools and system prompt are marked for the provider's prompt cache.
pub(crate) fn body(request: &ChatRequest) -> Value {
    let mut body = json!({
        "model": request.model,
        "max_tokens": request.max_tokens.unwrap_or(ANTHROPIC_MAX_TOKENS_DEFAULT),
        "messages": wire_messages(request),
        "stream": true,
    });
    let mut tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.input_schema,
            })
        })
        .collect();
    if let Some(Value::Object(last)) = tools.last_mut() {
        last.insert("cache_control".into(), ephemeral());
    }
    if let Value::Object(body) = &mut body {
        if !tools.is_empty() {
            body.insert("tools".into(), tools.into());
        }
        if !request.system.trim().is_empty() {
            let text =
                json!({"type": "text", "text": request.system, "cache_control": ephemeral()});
            body.insert("system".into(), json!([text]));
        }
        if let Some(temperature) = request.temperature {
            // OpenAI's scale goes to 2, Anthropic's to 1.
            body.insert("temperature".into(), temperature.min(1.0).into());
        }
    }
    body
}

fn ephemeral() -> Value {
    json!({"type": "ephemeral"})
}

/// Neighbours of one role become one message: all results of a step must come together.
fn wire_messages(request: &ChatRequest) -> Vec<Value> {
    let mut wire: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in &request.messages {
        let (role, blocks) = wire_blocks(message, &request.provider);
        match wire.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last_role, last)) if *last_role == role => last.extend(blocks),
            _ => wire.push((role, blocks)),
        }
    }
    wire.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn wire_blocks(message: &Message, provider: &str) -> (&'static str, Vec<Value>) {
    // Blank text blocks are refused.
    let text =
        |text: &str| (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}));
    match message {
        Message::User { content } => ("user", text(content).into_iter().collect()),
        Message::Tool { tool_call_id, content, is_error, .. } => {
            let result = json!({
                "type": "tool_result",
                "tool_use_id": tool_call_id,
                "content": content,
                "is_error": is_error,
            });
            ("user", vec![result])
        }
        Message::Assistant { content, tool_calls, replay } => {
            let reasoning = replay
                .as_ref()
                .filter(|replay| replay.provider == provider)
                .and_then(|replay| replay.blocks.as_array())
                .cloned()
                .unwrap_or_default();
            let calls = tool_calls.iter().map(|call| {
                json!({
                    "type": "tool_use",
                    "id": call.id,
                    "name": call.tool,
                    "input": parsable(&call.args),
                })
            });
            ("assistant", reasoning.into_iter().chain(text(content)).chain(calls).collect())
        }
    }
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct MessagesReader {
    answer: PartialAnswer,
    blocks: Vec<(u64, Block)>,
    has_stopped: bool,
    usage: MessagesUsage,
}

#[derive(Debug)]
enum Block {
    Text,
    Call { place: usize },
    Thinking { text: String, signature: String },
    Redacted { data: Value },
    Other,
}

impl MessagesReader {
    pub(crate) fn read(&mut self, event: &SseEvent) -> Result<Increment, ModelError> {
        if event.data.is_empty() {
            return Ok(Increment::Nothing);
        }
        let wire: WireEvent = json::parse(&event.data)
            .map_err(|_| ModelError::protocol("an event is none of the messages API"))?;
        match wire.kind.as_str() {
            "message_start" => {
                self.usage.update(wire.message.and_then(|message| message.usage));
                Ok(Increment::Nothing)
            }
            "content_block_start" => {
                self.open_block(wire.index.unwrap_or(0), wire.content_block.unwrap_or_default())
            }
            "content_block_delta" => {
                self.extend_block(wire.index.unwrap_or(0), wire.delta.unwrap_or_default())
            }
            "message_delta" => {
                self.usage.update(wire.usage);
                let reason = wire.delta.unwrap_or_default().stop_reason;
                self.answer.finish = reason.as_deref().map(finish_reason).or(self.answer.finish);
                Ok(Increment::Nothing)
            }
            "message_stop" => {
                self.has_stopped = true;
                Ok(Increment::End)
            }
            "error" => {
                let error = wire.error.unwrap_or_default();
                let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
                Err(ModelError::from_stream(
                    text("type"),
                    None,
                    cut(text("message"), PROVIDER_MESSAGE_MAX_CHARS),
                ))
            }
            _ => Ok(Increment::Nothing), // `ping`, `content_block_stop`, and events yet to come.
        }
    }

    /// The answer, if its `message_stop` has been seen.
    pub(crate) fn finish(mut self) -> Result<PartialAnswer, ModelError> {
        if !self.has_stopped {
            return Err(ModelError::Truncated);
        }
        self.answer.finish.get_or_insert(FinishReason::Stop);
        self.answer.usage = self.usage.into_usage();
        let reasoning: Vec<Value> = self
            .blocks
            .into_iter()
            .filter_map(|(_, block)| match block {
                Block::Thinking { text, signature } => {
                    Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
                }
                Block::Redacted { data } => {
                    Some(json!({"type": "redacted_thinking", "data": data}))
                }
                Block::Text | Block::Call { .. } | Block::Other => None,
            })
            .collect();
        self.answer.replay = (!reasoning.is_empty()).then_some(reasoning.into());
        Ok(self.answer)
    }

    fn open_block(
        &mut self,
        index: u64,
        mut start: Map<String, Value>,
    ) -> Result<Increment, ModelError> {
        check("BLOCKS_MAX", self.blocks.len() + 1, BLOCKS_MAX)?;
        let text = |key: &str| start.get(key).and_then(Value::as_str).unwrap_or_default();
        let block = match text("type") {
            "text" => Block::Text,
            "tool_use" => {
                let place = self.answer.open_call()?;
                self.answer.extend_call(place, text("name"), "")?;
                // The input is streamed; only some imitations send it here.
                let whole = start
                    .get("input")
                    .filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
                if let Some(input) = whole {
                    self.answer.extend_call(place, "", &input.to_string())?;
                }
                Block::Call { place }
            }
            "thinking" => Block::Thinking {
                text: text("thinking").into(),
                signature: text("signature").into(),
            },
            "redacted_thinking" => {
                let data = start.remove("data").unwrap_or_default();
                check("REASONING_MAX_BYTES", data.to_string().len(), REASONING_MAX_BYTES)?;
                Block::Redacted { data }
            }
            _ => Block::Other,
        };
        let first = match block {
            Block::Text => text_of(&mut start),
            _ => String::new(),
        };
        self.blocks.push((index, block));
        match self.answer.push_text(first)? {
            Increment::Nothing => Ok(Increment::Part),
            text => Ok(text),
        }
    }

    fn extend_block(&mut self, index: u64, delta: WireDelta) -> Result<Increment, ModelError> {
        let block = self.blocks.iter_mut().rev().find(|(at, _)| *at == index).map(|(_, b)| b);
        match (block, delta.kind.as_str()) {
            (Some(Block::Text), "text_delta") => {
                self.answer.push_text(delta.text.unwrap_or_default())
            }
            (Some(Block::Call { place }), "input_json_delta") => {
                let args = delta.partial_json.unwrap_or_default();
                self.answer.extend_call(*place, "", &args)?;
                Ok(Increment::Part)
            }
            (Some(Block::Thinking { text, .. }), "thinking_delta") => {
                extend_reasoning(text, &delta.thinking.unwrap_or_default())?;
                Ok(Increment::Part)
            }
            (Some(Block::Thinking { signature, .. }), "signature_delta") => {
                extend_reasoning(signature, &delta.signature.unwrap_or_default())?;
                Ok(Increment::Part)
            }
            (None, "text_delta" | "input_json_delta") => {
                Err(ModelError::protocol("a delta names a content block that was not begun"))
            }
            _ => Ok(Increment::Nothing),
        }
    }
}

fn text_of(start: &mut Map<String, Value>) -> String {
    match start.remove("text") {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

fn finish_reason(wire: &str) -> FinishReason {
    match wire {
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop, // `end_turn`, `stop_sequence`, `pause_turn`.
    }
}

// Every field may be absent or null, and unknown ones are ignored.

#[derive(Deserialize)]
struct WireEvent {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    message: Option<WireMessage>,
    content_block: Option<Map<String, Value>>,
    delta: Option<WireDelta>,
    usage: Option<MessagesUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct WireMessage {
    usage: Option<MessagesUsage>,
}

#[derive(Default, Deserialize)]
struct WireDelta {
    #[serde(rename = "type", default)]
    kind: String,
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    stop_reason: Option<String>,
}

/// Cumulative: a later figure replaces an earlier one.
#[derive(Debug, Default, Deserialize)]
struct MessagesUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl MessagesUsage {
    fn update(&mut self, newer: Option<MessagesUsage>) {
        let newer = newer.unwrap_or_default();
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens =
            newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
    }

    /// Anthropic counts the cached parts of the prompt apart from `input_tokens`.
    fn into_usage(self) -> Option<Usage> {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let input = self
            .input_tokens?
            .saturating_add(cached)
            .saturating_add(self.cache_creation_input_tokens.unwrap_or(0));
        Some(Usage::new(input, self.output_tokens?, cached))
    }
}
