//! OpenAI's chat completions, as OpenAI and the many servers that imitate it speak them.
//!
//! Only the wire format: a request becomes a body here; `frames` and `calls` read the answer.
//! No IO.

mod calls;
mod frames;

pub(crate) use frames::CompletionReader;

use std::collections::HashMap;

use protocol::{
    id::CallId,
    message::{Message, Replay, ToolCall},
};
use serde_json::{Map, Value, json};

use crate::{
    chat::{ChatRequest, parsable},
    formats::{self, FormatWay},
    lessons::{Lessons, ReasoningEcho, TokenBound},
    names,
    settings::Provider,
    tool_schema::{self, SchemaDialect},
};

/// The result of a tool that returned nothing: some servers refuse an empty one.
pub(crate) const NO_OUTPUT: &str = "(no output)";
/// The field in which reasoning is sent where the provider has sent none.
const REASONING_FIELD: &str = "reasoning_content";

/// The body of a request.
pub(crate) fn body(request: &ChatRequest, provider: &Provider, lessons: &Lessons) -> Value {
    let mut body = json!({
        "model": request.model,
        "messages": wire_messages(request, provider, lessons),
        "stream": !lessons.no_stream,
    });
    let tools: Vec<Value> = request
        .tools
        .iter()
        .filter(|tool| !lessons.refuses(tool))
        .map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool_schema::as_sent(&tool.input_schema, provider.schemas),
            }})
        })
        .collect();
    let usual = match provider.is_openai_itself {
        true => TokenBound::MaxCompletionTokens,
        false => TokenBound::MaxTokens,
    };
    let bound = match lessons.token_bound.unwrap_or(usual) {
        TokenBound::MaxTokens => Some("max_tokens"),
        TokenBound::MaxCompletionTokens => Some("max_completion_tokens"),
        TokenBound::None => None,
    };
    if let Value::Object(body) = &mut body {
        if !lessons.no_stream && !lessons.no_stream_options {
            body.insert("stream_options".into(), json!({"include_usage": true}));
        }
        // Some servers refuse an empty list.
        insert(body, "tools", (!tools.is_empty()).then_some(Value::Array(tools)));
        let temperature = request.temperature.filter(|_| !lessons.no_temperature);
        insert(body, "temperature", temperature.map(Value::from));
        let key = request.cache.key.as_deref();
        let key = key.filter(|_| provider.takes_cache_key && !lessons.no_cache_key);
        insert(body, "prompt_cache_key", key.map(Value::from));
        if formats::way(request, provider, lessons) == FormatWay::Native {
            let format = formats::schema(request).map(|schema| response_format(schema, provider));
            insert(body, "response_format", format);
        }
        if let Some(bound) = bound {
            insert(body, bound, lessons.bounded(request.max_tokens).map(Value::from));
        }
    }
    body
}

/// Strict where the provider can hold the model to all of the schema; it refuses more than that.
fn response_format(schema: Value, provider: &Provider) -> Value {
    let strict = formats::is_strict(&schema);
    let schema = match provider.schemas {
        SchemaDialect::Gemini => tool_schema::as_sent(&schema, SchemaDialect::Gemini),
        SchemaDialect::Usual => schema,
    };
    json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}})
}

fn wire_messages(request: &ChatRequest, provider: &Provider, lessons: &Lessons) -> Vec<Value> {
    let ids = WireIds::of(request, lessons);
    let echo = Echo::of(request, provider, lessons);
    let mut wire: Vec<Value> = Vec::new();
    match request.system.as_str() {
        "" => {}
        system if lessons.no_system_role => say(&mut wire, &["user"], system),
        system => wire.push(json!({"role": "system", "content": system})),
    }
    for message in &request.messages {
        match message {
            Message::System { content, .. } if lessons.no_system_role => {
                say(&mut wire, &["user"], content);
            }
            Message::System { content, .. } => {
                wire.push(json!({"role": "system", "content": content}));
            }
            Message::User { content } => say(&mut wire, &["user"], content),
            // Behind results it stands in the last of them: many templates know no user there.
            Message::Note { content, .. } | Message::Summary { content, .. } => {
                say(&mut wire, &["user", "tool"], content);
            }
            Message::Tool { tool_call_id, content, .. } => wire.push(json!({
                "role": "tool",
                "tool_call_id": ids.get(*tool_call_id),
                "content": if content.trim().is_empty() { NO_OUTPUT } else { content },
            })),
            // A turn without text does not enter a prompt.
            Message::Assistant { content, tool_calls, .. }
                if content.trim().is_empty() && tool_calls.is_empty() => {}
            Message::Assistant { content, tool_calls, replay, sent: _ } => {
                let replay = own(replay.as_ref(), request);
                let mut turn = Map::new();
                turn.insert("role".into(), "assistant".into());
                let words = !content.is_empty() || lessons.no_null_content;
                turn.insert("content".into(), words.then_some(content.as_str()).into());
                if !tool_calls.is_empty() {
                    let calls = tool_calls.iter().enumerate();
                    let calls =
                        calls.map(|(place, call)| wire_call(call, ids.get(call.id), replay, place));
                    turn.insert("tool_calls".into(), calls.collect());
                }
                echo.add(&mut turn, replay);
                wire.push(Value::Object(turn));
            }
        }
    }
    wire
}

/// Adds words to the last message if it is of one of these roles, else as a message of the user:
/// many templates refuse neighbours of one role.
fn say(wire: &mut Vec<Value>, roles: &[&str], content: &str) {
    match wire.last_mut().and_then(|message| words_of(message, roles)) {
        Some(words) => *words = format!("{words}\n\n{content}"),
        None => wire.push(json!({"role": "user", "content": content})),
    }
}

fn words_of<'a>(message: &'a mut Value, roles: &[&str]) -> Option<&'a mut String> {
    let role = message.get("role").and_then(Value::as_str)?;
    if !roles.contains(&role) {
        return None;
    }
    match message.get_mut("content") {
        Some(Value::String(words)) => Some(words),
        _ => None,
    }
}

/// What the provider that is asked has itself attached to a message.
fn own<'a>(replay: Option<&'a Replay>, request: &ChatRequest) -> Option<&'a Replay> {
    replay.filter(|replay| replay.provider == request.provider)
}

fn wire_call(call: &ToolCall, id: String, replay: Option<&Replay>, place: usize) -> Value {
    let mut wire = json!({"id": id, "type": "function", "function": {
        "name": names::as_sent(&call.tool),
        "arguments": parsable(&call.args).to_string(),
    }});
    // Gemini refuses calls without the signature that it attached to them.
    let kept = replay.and_then(|replay| replay.blocks.get("calls")?.get(place));
    if let (Value::Object(wire), Some(extra)) =
        (&mut wire, kept.and_then(|kept| kept.get("extra_content")))
    {
        wire.insert("extra_content".into(), extra.clone());
    }
    wire
}

/// The ids of calls as the provider knows them.
pub(crate) struct WireIds(HashMap<CallId, String>);

impl WireIds {
    /// A provider's own id where it gave one; else nine letters and digits, since Mistral accepts
    /// nothing else and every other server accepts that.
    pub(crate) fn of(request: &ChatRequest, lessons: &Lessons) -> Self {
        let mut ids = HashMap::new();
        for message in &request.messages {
            let Message::Assistant { tool_calls, replay, .. } = message else { continue };
            let kept = own(replay.as_ref(), request).and_then(|replay| replay.blocks.get("calls"));
            let mut used: Vec<&str> = Vec::new();
            for (place, call) in tool_calls.iter().enumerate() {
                let given = kept.and_then(|kept| kept.get(place)?.get("id")?.as_str());
                // Two calls of one answer must differ.
                let given =
                    given.filter(|id| !lessons.short_ids && !id.is_empty() && !used.contains(id));
                used.extend(given);
                ids.insert(call.id, given.map_or_else(|| short(call.id), str::to_owned));
            }
        }
        Self(ids)
    }

    pub(crate) fn get(&self, id: CallId) -> String {
        self.0.get(&id).cloned().unwrap_or_else(|| short(id))
    }
}

/// The last nine characters of ours: random, and of letters and digits.
fn short(id: CallId) -> String {
    let text = id.to_string();
    text.get(text.len().saturating_sub(9)..).unwrap_or(&text).to_owned()
}

/// How the model's reasoning goes back to it.
struct Echo {
    /// The field that turns without reasoning carry empty; none where it is not wanted.
    empty: Option<String>,
    is_sent: bool,
}

impl Echo {
    /// By default as the provider did it: within a run what it sent goes back, and once one turn
    /// has some, the others say that they have none.
    fn of(request: &ChatRequest, provider: &Provider, lessons: &Lessons) -> Self {
        let configured = provider.replay_reasoning.map(|wanted| match wanted {
            true => ReasoningEcho::Wanted,
            false => ReasoningEcho::Refused,
        });
        let field = request.messages.iter().find_map(|message| match message {
            Message::Assistant { replay, .. } => {
                let reasoning =
                    own(replay.as_ref(), request)?.blocks.get("reasoning")?.as_object()?;
                reasoning.keys().next().cloned()
            }
            Message::System { .. }
            | Message::Note { .. }
            | Message::Summary { .. }
            | Message::User { .. }
            | Message::Tool { .. } => None,
        });
        match configured.or(lessons.reasoning) {
            Some(ReasoningEcho::Refused) => Self { empty: None, is_sent: false },
            Some(ReasoningEcho::Wanted) => {
                Self { empty: Some(field.unwrap_or_else(|| REASONING_FIELD.into())), is_sent: true }
            }
            None => Self { empty: field, is_sent: true },
        }
    }

    fn add(&self, turn: &mut Map<String, Value>, replay: Option<&Replay>) {
        if !self.is_sent {
            return;
        }
        let blocks = |key: &str| replay.and_then(|replay| replay.blocks.get(key));
        if let Some(reasoning) = blocks("reasoning").and_then(Value::as_object) {
            turn.extend(reasoning.clone());
        } else if let Some(field) = &self.empty {
            turn.insert(field.clone(), "".into());
        }
        for key in ["reasoning_details", "extra_content"] {
            if let Some(block) = blocks(key) {
                turn.insert(key.into(), block.clone());
            }
        }
    }
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chat::CacheHints, lessons::Lesson, settings::ModelSettings};

    #[test]
    fn a_prompt_cache_key_is_sent_to_those_that_are_known_to_take_it() {
        let azure = json!({"kind": "openai", "base_url": "https://x.openai.azure.com/openai/v1"});
        let settings = json!({"providers": {"azure": azure}});
        let settings: ModelSettings = serde_json::from_value(settings).unwrap();
        let providers = settings.resolved().unwrap();
        let key = |provider: &str, lessons: &Lessons| {
            let request = ChatRequest {
                provider: provider.into(),
                model: "m".into(),
                system: "S".into(),
                messages: Vec::new(),
                tools: crate::tool_list::ToolList::default(),
                temperature: None,
                max_tokens: None,
                response_format: None,
                cache: CacheHints { shared_messages: 0, key: Some("k".into()) },
            };
            body(&request, &providers[provider], lessons).get("prompt_cache_key").cloned()
        };
        let none = Lessons::default();
        assert_eq!(key("openai", &none), Some(json!("k")));
        assert_eq!(key("azure", &none), Some(json!("k")));
        assert_eq!(key("gemini", &none), None);
        assert_eq!(key("ollama", &none), None);
        let mut refused = Lessons::default();
        refused.add(Lesson::NoCacheKey);
        assert_eq!(key("openai", &refused), None);
    }
}
