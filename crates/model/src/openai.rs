//! OpenAI's chat completions, as OpenAI and the many servers that imitate it speak them.
//!
//! Only the form: a request becomes a body, events become an answer. No IO.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use protocol::message::{FinishReason, Message, Replay, ToolCall, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Increment, PartialAnswer, extend_reasoning},
    chat::{ChatRequest, parsable},
    error::{ModelError, PROVIDER_MESSAGE_MAX_CHARS, cut},
    json,
    limits::CALLS_MAX,
    settings::Provider,
    sse::SseEvent,
};

/// The body of a request.
pub(crate) fn body(request: &ChatRequest, provider: &Provider) -> Value {
    let system =
        (!request.system.is_empty()).then(|| json!({"role": "system", "content": request.system}));
    let messages: Vec<Value> = system
        .into_iter()
        .chain(request.messages.iter().map(|message| wire_message(message, request, provider)))
        .collect();
    let mut body = json!({
        "model": request.model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
            }})
        })
        .collect();
    let bound = if provider.is_openai_itself { "max_completion_tokens" } else { "max_tokens" };
    if let Value::Object(body) = &mut body {
        // Some servers refuse an empty list.
        insert(body, "tools", (!tools.is_empty()).then_some(Value::Array(tools)));
        insert(body, "temperature", request.temperature.map(Value::from));
        insert(body, bound, request.max_tokens.map(Value::from));
    }
    body
}

fn wire_message(message: &Message, request: &ChatRequest, provider: &Provider) -> Value {
    match message {
        Message::User { content } => json!({"role": "user", "content": content}),
        Message::Tool { tool_call_id, content, .. } => {
            json!({"role": "tool", "tool_call_id": tool_call_id, "content": content})
        }
        Message::Assistant { content, tool_calls, replay } => {
            let replay = replay.as_ref().filter(|replay| replay.provider == request.provider);
            let mut wire = Map::new();
            wire.insert("role".into(), "assistant".into());
            let words = (!content.is_empty() || tool_calls.is_empty()).then_some(content.as_str());
            wire.insert("content".into(), words.into());
            if !tool_calls.is_empty() {
                let calls = tool_calls.iter().enumerate();
                let calls = calls.map(|(place, call)| wire_call(call, extra_of(replay, place)));
                wire.insert("tool_calls".into(), calls.collect());
            }
            if let Some(reasoning) = replay
                .filter(|_| provider.replay_reasoning)
                .and_then(|replay| replay.blocks.get("reasoning")?.as_object())
            {
                wire.extend(reasoning.clone());
            }
            Value::Object(wire)
        }
    }
}

fn wire_call(call: &ToolCall, extra: Option<&Value>) -> Value {
    let mut wire = json!({"id": call.id, "type": "function", "function": {
        "name": call.tool,
        "arguments": parsable(&call.args).to_string(),
    }});
    if let (Value::Object(wire), Some(extra)) = (&mut wire, extra) {
        wire.insert("extra_content".into(), extra.clone());
    }
    wire
}

/// What the provider attached to the call at a place; Gemini refuses calls without its signature.
fn extra_of(replay: Option<&Replay>, place: usize) -> Option<&Value> {
    replay?.blocks.get("extra_content")?.get(place).filter(|extra| !extra.is_null())
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

/// Reads the events of one answer.
#[derive(Debug)]
pub(crate) struct ChatCompletionReader {
    answer: PartialAnswer,
    is_done: bool,
    /// Whether this server has ever sent `[DONE]`.
    sends_done: Arc<AtomicBool>,
    /// The place of the call at each wire index, its id, and what is attached to it.
    slots: Vec<Slot>,
    reasoning: Option<(&'static str, String)>,
}

#[derive(Debug)]
struct Slot {
    index: usize,
    place: usize,
    id: String,
    extra: Value,
}

impl ChatCompletionReader {
    /// For one answer of a provider.
    pub(crate) fn new(provider: &Provider) -> Self {
        Self {
            answer: PartialAnswer::default(),
            is_done: false,
            sends_done: Arc::clone(&provider.sends_done),
            slots: Vec::new(),
            reasoning: None,
        }
    }

    pub(crate) fn read(&mut self, event: &SseEvent) -> Result<Increment, ModelError> {
        if event.data.trim() == "[DONE]" {
            self.is_done = true;
            return Ok(Increment::End);
        }
        if event.data.is_empty() {
            return Ok(Increment::Nothing);
        }
        let chunk: Chunk = json::parse(&event.data)
            .map_err(|_| ModelError::protocol("an event is no chat completion chunk"))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(stream_error(&error));
        }
        if let Some(usage) = chunk.usage {
            self.answer.usage = Some(usage.into());
        }
        let choices = chunk.choices.unwrap_or_default();
        let Some(choice) = choices.into_iter().find(|choice| choice.index.unwrap_or(0) == 0) else {
            return Ok(Increment::Nothing);
        };
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.answer.finish = Some(finish_reason(&reason)?);
        }
        self.read_delta(choice.delta.unwrap_or_default())
    }

    /// The answer, if its end has been seen: a `finish_reason`, and `[DONE]` from a server that
    /// sends one. Of others, which are many, a body that ends cleanly is whole.
    pub(crate) fn finish(mut self) -> Result<PartialAnswer, ModelError> {
        let sends_done = self.sends_done.fetch_or(self.is_done, Ordering::Relaxed);
        if self.answer.finish.is_none() || sends_done && !self.is_done {
            return Err(ModelError::Truncated);
        }
        let mut blocks = Map::new();
        if let Some((field, text)) = self.reasoning {
            blocks.insert("reasoning".into(), json!({field: text}));
        }
        if self.slots.iter().any(|slot| !slot.extra.is_null()) {
            self.slots.sort_by_key(|slot| slot.place);
            let extra = self.slots.into_iter().map(|slot| slot.extra).collect();
            blocks.insert("extra_content".into(), extra);
        }
        self.answer.replay = (!blocks.is_empty()).then_some(Value::Object(blocks));
        Ok(self.answer)
    }

    fn read_delta(&mut self, delta: Delta) -> Result<Increment, ModelError> {
        let mut progress = Increment::Nothing;
        for (field, text) in
            [("reasoning_content", delta.reasoning_content), ("reasoning", delta.reasoning)]
        {
            // Some gateways send both fields with the same text: the first one seen is kept.
            let Some(text) = text.as_ref().and_then(Value::as_str).filter(|t| !t.is_empty()) else {
                continue;
            };
            let (kept_field, kept) = self.reasoning.get_or_insert((field, String::new()));
            if *kept_field == field {
                extend_reasoning(kept, text)?;
                progress = Increment::Part;
            }
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.read_call(call)?;
            progress = Increment::Part;
        }
        let text: String =
            [delta.content, delta.refusal].into_iter().flatten().map(words).collect();
        match self.answer.push_text(text)? {
            Increment::Nothing => Ok(progress),
            text => Ok(text),
        }
    }

    fn read_call(&mut self, delta: CallDelta) -> Result<(), ModelError> {
        let function = delta.function.unwrap_or_default();
        let id = delta.id.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let index = delta.index.unwrap_or(match name.is_empty() {
            true => self.slots.last().map_or(0, |slot| slot.index as u64),
            false => self.slots.len() as u64,
        });
        let index = usize::try_from(index)
            .ok()
            .filter(|index| *index < CALLS_MAX)
            .ok_or(ModelError::Limit { limit: "CALLS_MAX", max: CALLS_MAX })?;
        // Some servers give every parallel call the index 0: another id and a name begin a new one.
        let slot = self.slots.iter().rposition(|slot| slot.index == index).filter(|&at| {
            let known = self.slots.get(at).map_or("", |slot| slot.id.as_str());
            name.is_empty() || id.is_empty() || known.is_empty() || known == id
        });
        let slot = match slot {
            Some(at) => at,
            None => {
                let place = self.answer.open_call()?;
                self.slots.push(Slot { index, place, id: id.clone(), extra: Value::Null });
                self.slots.len() - 1
            }
        };
        let Some(slot) = self.slots.get_mut(slot) else { return Ok(()) };
        if slot.id.is_empty() {
            slot.id = id;
        }
        if let Some(extra) = delta.extra_content {
            crate::limits::check(
                "REASONING_MAX_BYTES",
                extra.to_string().len(),
                crate::limits::REASONING_MAX_BYTES,
            )?;
            slot.extra = extra;
        }
        let args = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
        };
        // A name is sent whole; some servers repeat it in every fragment.
        let is_named = self.answer.calls.get(slot.place).is_some_and(|call| !call.tool.is_empty());
        self.answer.extend_call(slot.place, if is_named { "" } else { &name }, &args)
    }
}

/// A text, or the text parts of a list of parts.
fn words(content: Value) -> String {
    match content {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        _ => String::new(),
    }
}

fn finish_reason(wire: &str) -> Result<FinishReason, ModelError> {
    match wire {
        "length" | "max_tokens" => Ok(FinishReason::Length),
        "content_filter" => Ok(FinishReason::ContentFilter),
        "tool_calls" | "function_call" => Ok(FinishReason::ToolCalls),
        "error" => Err(ModelError::Unavailable {
            status: None,
            retry_after: None,
            message: "it ended its answer with an error".to_owned(),
        }),
        _ => Ok(FinishReason::Stop), // `stop`, and what other servers call it.
    }
}

fn stream_error(error: &Value) -> ModelError {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let code = error.get("code");
    let number = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
    let kind = match text("type") {
        "" => text("code"),
        kind => kind,
    };
    let message = error.as_str().unwrap_or_else(|| text("message"));
    ModelError::from_stream(
        kind,
        number.and_then(|code| u16::try_from(code).ok()),
        cut(message, PROVIDER_MESSAGE_MAX_CHARS),
    )
}

// Every field may be absent or null, and unknown ones are ignored.

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<ChatCompletionUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<Value>,
    refusal: Option<Value>,
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
    extra_content: Option<Value>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct ChatCompletionUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl From<ChatCompletionUsage> for Usage {
    fn from(wire: ChatCompletionUsage) -> Usage {
        Usage::new(
            wire.prompt_tokens.unwrap_or(0),
            wire.completion_tokens.unwrap_or(0),
            wire.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ModelSettings;

    #[test]
    fn only_openai_itself_has_its_own_name_for_the_bound_on_tokens() {
        let request = ChatRequest {
            provider: String::new(),
            model: String::new(),
            system: String::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            temperature: None,
            max_tokens: Some(7),
        };
        let providers = ModelSettings::default().resolved().unwrap();
        assert_eq!(body(&request, &providers["openai"])["max_completion_tokens"], 7);
        assert_eq!(body(&request, &providers["gemini"])["max_tokens"], 7);
        assert_eq!(body(&request, &providers["gemini"]).get("tools"), None);
    }
}
