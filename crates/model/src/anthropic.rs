//! Anthropic's messages.
//!
//! Only the wire format: a request becomes a body here; `events` reads the answer. No IO.

mod events;

pub(crate) use events::MessagesReader;

use protocol::{
    id::CallId,
    message::{Message, Replay, ToolCall},
};
use serde_json::{Value, json};

use crate::{
    chat::{ChatRequest, parsable},
    formats::{self, FormatWay},
    lessons::Lessons,
    names,
    openai::{NO_OUTPUT, WireIds},
    settings::Provider,
    tool_schema::{self, SchemaDialect},
};

/// `max_tokens` of a request that names none; Anthropic demands one.
pub(crate) const ANTHROPIC_MAX_TOKENS_DEFAULT: u32 = 8192;

/// The body of a request. What stays the same from one request to the next ends at a mark for the
/// provider's prompt cache, of which it takes four: tools, system prompt, the messages that other
/// requests share, and all messages, which the next request begins with.
pub(crate) fn body(request: &ChatRequest, provider: &Provider, lessons: &Lessons) -> Value {
    let most = request.max_tokens.unwrap_or(ANTHROPIC_MAX_TOKENS_DEFAULT);
    let mut body = json!({
        "model": request.model,
        "max_tokens": lessons.bounded(Some(most)),
        "messages": wire_messages(request, lessons),
        "stream": !lessons.no_stream,
    });
    let mut tools: Vec<Value> = request
        .tools
        .iter()
        .filter(|tool| !lessons.refuses(tool))
        .map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool_schema::as_sent(&tool.input_schema, SchemaDialect::Usual),
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
        if formats::way(request, provider, lessons) == FormatWay::Native
            && let Some(schema) = formats::schema(request)
        {
            let format = json!({"type": "json_schema", "schema": schema});
            body.insert("output_config".into(), json!({"format": format}));
        }
        if let Some(temperature) = request.temperature.filter(|_| !lessons.no_temperature) {
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
fn wire_messages(request: &ChatRequest, lessons: &Lessons) -> Vec<Value> {
    let ids = WireIds::of(request, lessons);
    let mut wire: Vec<(&str, Vec<Value>)> = Vec::new();
    let ends = [request.cache.shared_messages, request.messages.len()];
    for (message, number) in request.messages.iter().zip(1..) {
        let (role, mut blocks) = wire_blocks(message, &request.provider, &ids);
        if ends.contains(&number) {
            mark_last(&mut blocks);
        }
        match wire.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last_role, last)) if *last_role == role => last.extend(blocks),
            _ => wire.push((role, blocks)),
        }
    }
    wire.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

/// Blocks of reasoning cannot carry a mark.
fn mark_last(blocks: &mut [Value]) {
    if let Some(Value::Object(block)) = blocks.last_mut()
        && !matches!(
            block.get("type").and_then(Value::as_str),
            Some("thinking" | "redacted_thinking")
        )
    {
        block.insert("cache_control".into(), ephemeral());
    }
}

fn wire_blocks(message: &Message, provider: &str, ids: &WireIds) -> (&'static str, Vec<Value>) {
    match message {
        Message::User { content }
        | Message::System { content, .. }
        | Message::Note { content, .. }
        | Message::Summary { content, .. } => ("user", text_block(content).into_iter().collect()),
        Message::Tool { tool_call_id, content, is_error, .. } => {
            let result = json!({
                "type": "tool_result",
                "tool_use_id": ids.get(*tool_call_id),
                "content": if content.trim().is_empty() { NO_OUTPUT } else { content },
                "is_error": is_error,
            });
            ("user", vec![result])
        }
        // A turn without text does not enter a prompt, even if it has reasoning.
        Message::Assistant { content, tool_calls, .. }
            if content.trim().is_empty() && tool_calls.is_empty() =>
        {
            ("assistant", Vec::new())
        }
        Message::Assistant { content, tool_calls, replay, sent: _ } => {
            let replay = replay.as_ref().filter(|replay| replay.provider == provider);
            ("assistant", turn(content, tool_calls, replay, |id| ids.get(id)))
        }
    }
}

/// Blank text blocks are refused.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// The blocks of the model's turn in the order in which they came, as far as that is known.
fn turn(
    content: &str,
    tool_calls: &[ToolCall],
    replay: Option<&Replay>,
    id_of: impl Fn(CallId) -> String,
) -> Vec<Value> {
    let call_block = |call: &ToolCall| {
        json!({
            "type": "tool_use",
            "id": id_of(call.id),
            "name": names::as_sent(&call.tool),
            "input": parsable(&call.args),
        })
    };
    let order = replay.and_then(|replay| replay.blocks.get("order")?.as_array());
    let order = order.map(Vec::as_slice).unwrap_or_default();
    let bytes_of = |block: &Value| {
        let bytes = block.get("text_bytes")?.as_u64()?;
        usize::try_from(bytes).ok()
    };
    let said: usize = order.iter().filter_map(bytes_of).sum();
    // Masking changed the lengths: all text then goes where the first block was.
    let is_divisible = said == content.len();
    let mut rest = content;
    let mut calls = tool_calls.iter();
    let mut blocks = Vec::new();
    for block in order {
        if let Some(bytes) = bytes_of(block) {
            let bytes = if is_divisible { bytes } else { rest.len() };
            let (text, after) = rest.split_at_checked(bytes).unwrap_or((rest, ""));
            rest = after;
            blocks.extend(text_block(text));
        } else if block.get("call").is_some() {
            blocks.extend(calls.next().map(call_block));
        } else {
            blocks.push(block.clone());
        }
    }
    blocks.extend(text_block(rest));
    blocks.extend(calls.map(call_block));
    blocks
}
