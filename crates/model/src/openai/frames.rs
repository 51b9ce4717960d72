//! Reads a chat completion, streamed or whole, as OpenAI and its imitators send it.
//!
//! Lenient where nothing is lost: a field that is null, unknown or of another type is treated as
//! absent. The parts of an answer are read wherever a known server puts them.

use protocol::json::joined;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Counted, Increment, PartialAnswer, Stopped, extend_reasoning, tokens},
    error::{ModelError, cut},
    json,
    limits::{REASONING_MAX_BYTES, TEXT_MAX_BYTES, check},
    openai::calls::{CallFragment, GatheredCalls},
    said::{Said, is_error},
    sse::SseEvent,
    tool_schema::SchemaDialect,
};

/// The fields in which servers send reasoning; each is sent back under its own name.
const REASONING_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Longest type of a part that an error repeats, in characters.
const KIND_MAX_CHARS: usize = 64;

/// Reads the frames of one answer.
#[derive(Debug, Default)]
pub(crate) struct CompletionReader {
    answer: PartialAnswer,
    calls: GatheredCalls,
    has_tool_calls: bool,
    /// The field of the reasoning, and its text.
    reasoning: Option<(&'static str, String)>,
    /// `reasoning_details` of OpenRouter: signed or encrypted blocks, put together again.
    details: Vec<Value>,
    details_bytes: usize,
    /// What is attached to the message itself.
    extra: Value,
    /// A choice that is the first, or without a number, has come: others are not ours.
    has_first: bool,
    /// Parts came as `delta`: a whole `message` says the same again.
    in_deltas: bool,
    /// Reasoning is counted in the total alone, as Gemini does it.
    thoughts_in_total: bool,
}

impl CompletionReader {
    pub(crate) fn new(dialect: SchemaDialect) -> Self {
        Self { thoughts_in_total: dialect == SchemaDialect::Gemini, ..Self::default() }
    }

    pub(crate) fn read(&mut self, event: &SseEvent) -> Result<Increment, ModelError> {
        let data = event.data.trim();
        if data.eq_ignore_ascii_case("[DONE]") {
            return Ok(Increment::End);
        }
        match json::parse::<Value>(data) {
            Ok(frame) => self.read_frame(&frame, event.name == "error"),
            // Behind the reason to stop nothing can be missing but the usage.
            Err(_) if self.has_stopped() && event.name != "error" => Ok(Increment::End),
            // Words between the frames are signs of life; a broken frame may hold what we need.
            Err(_) if !data.starts_with(['{', '[']) && event.name != "error" => {
                Ok(Increment::Nothing)
            }
            Err(_) if event.name == "error" => {
                Err(Said::from_body(data.as_bytes()).error(None, None))
            }
            Err(_) => Err(ModelError::protocol("an event is not a chat completion chunk")),
        }
    }

    /// Takes one frame, or a whole completion.
    pub(crate) fn read_frame(
        &mut self,
        frame: &Value,
        is_error_event: bool,
    ) -> Result<Increment, ModelError> {
        // Google's errors stand in a list.
        let frame = frame.get(0).filter(|first| first.is_object()).unwrap_or(frame);
        let Some(fields) = frame.as_object() else { return Ok(Increment::Nothing) };
        if is_error_frame(fields, is_error_event) {
            return Err(Said::from_json(frame).error(None, None));
        }
        let choices = fields.get("choices").and_then(Value::as_array);
        let choice = choices.and_then(|choices| {
            let is_first = |choice: &&Value| choice.get("index").and_then(Value::as_u64) == Some(0);
            let unnumbered =
                |choice: &&Value| choice.get("index").and_then(Value::as_u64).is_none();
            let first = choices.iter().find(is_first).or_else(|| choices.iter().find(unnumbered));
            // Its only choice may have any number, but not be a second one.
            let only = choices.first().filter(|_| choices.len() == 1 && !self.has_first);
            self.has_first |= first.is_some();
            first.or(only)
        });
        let usages = [
            fields.get("usage"),
            choice.and_then(|choice| choice.get("usage")),
            fields.get("x_groq").and_then(|groq| groq.get("usage")),
        ];
        for usage in usages.into_iter().flatten() {
            self.answer.usage.update(counted(usage, self.thoughts_in_total));
        }
        let Some(choice) = choice else { return Ok(Increment::Nothing) };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.answer.stopped = stopped(reason, choice).or(self.answer.stopped.take());
        }
        let part = |name: &str| choice.get(name).and_then(Value::as_object);
        match (part("delta").filter(|delta| says_something(delta)), part("message")) {
            (Some(delta), _) => {
                self.in_deltas = true;
                self.read_part(delta)
            }
            (None, Some(message)) if !self.in_deltas => self.read_part(message),
            // The form of completions before there were chats.
            (None, None) => match choice.get("text").and_then(Value::as_str) {
                Some(text) => self.answer.push_text(text.to_owned()),
                None => Ok(Increment::Nothing),
            },
            (None, _) => Ok(Increment::Nothing),
        }
    }

    /// A reason to stop has come: the answer is whole.
    pub(crate) fn has_stopped(&self) -> bool {
        self.answer.stopped.is_some()
    }

    /// Everything that came, to be judged.
    pub(crate) fn finish(mut self) -> Result<PartialAnswer, ModelError> {
        let mut blocks = Map::new();
        if let Some((field, text)) = self.reasoning {
            let text = joined(&mut None, text);
            self.answer.reasoning = text.clone();
            blocks.insert("reasoning".into(), json!({field: text}));
        }
        if !self.details.is_empty() {
            blocks.insert("reasoning_details".into(), self.details.into());
        }
        if !self.extra.is_null() {
            blocks.insert("extra_content".into(), self.extra);
        }
        let calls = self.calls.finish()?;
        if calls.iter().any(|call| !call.id.is_empty() || !call.extra.is_null()) {
            let kept = calls.iter().map(|call| match &call.extra {
                Value::Null => json!({"id": call.id}),
                extra => json!({"id": call.id, "extra_content": extra}),
            });
            blocks.insert("calls".into(), kept.collect());
        }
        self.answer.calls = calls.into_iter().map(|call| call.call).collect();
        self.answer.replay = (!blocks.is_empty()).then_some(Value::Object(blocks));
        Ok(self.answer)
    }

    fn read_part(&mut self, part: &Map<String, Value>) -> Result<Increment, ModelError> {
        let mut increment = Increment::Nothing;
        for field in REASONING_FIELDS {
            // Some gateways send both fields with the same text: the first one seen is kept.
            let Some(text) = part.get(field).and_then(Value::as_str).filter(|t| !t.is_empty())
            else {
                continue;
            };
            let (kept_field, kept) = self.reasoning.get_or_insert((field, String::new()));
            if *kept_field == field {
                extend_reasoning(kept, text)?;
                increment = Increment::Part;
            }
        }
        for detail in part.get("reasoning_details").and_then(Value::as_array).into_iter().flatten()
        {
            self.keep_detail(detail)?;
            increment = Increment::Part;
        }
        if let Some(extra) = part.get("extra_content").filter(|extra| !extra.is_null()) {
            check("REASONING_MAX_BYTES", extra.to_string().len(), REASONING_MAX_BYTES)?;
            self.extra = extra.clone();
        }
        for call in part.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            if let Some(fragment) = CallFragment::of(call) {
                self.calls.add(fragment)?;
                self.has_tool_calls = true;
                increment = Increment::Part;
            }
        }
        // The form before there were parallel calls; some say the same call in both.
        let function_call = part.get("function_call").filter(|call| call.is_object());
        if let Some(call) = function_call.filter(|_| !self.has_tool_calls) {
            self.calls.add(CallFragment::of_function(call))?;
            increment = Increment::Part;
        }
        let parts = part.get("content").and_then(Value::as_array).into_iter().flatten();
        let refusals = parts.filter_map(|part| part.get("refusal"));
        for refusal in part.get("refusal").into_iter().chain(refusals).filter_map(Value::as_str) {
            check("TEXT_MAX_BYTES", self.answer.refusal.len() + refusal.len(), TEXT_MAX_BYTES)?;
            self.answer.refusal.push_str(refusal);
        }
        let (text, thought) = words(part.get("content"));
        if let Some(what) = not_kept(part) {
            self.answer.unread.get_or_insert_with(|| what.clone());
            self.answer.left_out = Some(what);
        }
        if text.is_empty() && thought.is_empty() {
            self.answer.unread = self.answer.unread.take().or(unread(part.get("content")));
        }
        if !thought.is_empty() {
            self.answer.push_reasoning(&thought)?;
            increment = Increment::Part;
        }
        match self.answer.push_text(text)? {
            Increment::Nothing => Ok(increment),
            text => Ok(text),
        }
    }

    /// Fragments of one block carry its index; text grows, all else is said once.
    fn keep_detail(&mut self, detail: &Value) -> Result<(), ModelError> {
        let Some(fields) = detail.as_object() else { return Ok(()) };
        let same = |kept: &Value| {
            kept.get("index").is_some()
                && kept.get("index") == detail.get("index")
                && kept.get("type") == detail.get("type")
        };
        self.details_bytes += detail.to_string().len();
        check("REASONING_MAX_BYTES", self.details_bytes, REASONING_MAX_BYTES)?;
        match self.details.last_mut().filter(|kept| same(kept)).and_then(Value::as_object_mut) {
            None => {
                self.details.push(detail.clone());
            }
            Some(kept) => {
                for (key, value) in fields {
                    match (kept.get_mut(key), value) {
                        (_, Value::Null) => {}
                        (Some(Value::String(text)), Value::String(more))
                            if matches!(key.as_str(), "text" | "summary" | "data") =>
                        {
                            text.push_str(more);
                        }
                        _ => {
                            kept.insert(key.clone(), value.clone());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a frame speaks of an error, and is not an answer with an empty one beside it.
fn is_error_frame(fields: &Map<String, Value>, is_error_event: bool) -> bool {
    let has = |key: &str| fields.get(key).is_some_and(is_error);
    if has("error") {
        return true;
    }
    let list = |key: &str| fields.get(key).and_then(Value::as_array);
    if list("choices").is_some_and(|choices| !choices.is_empty()) {
        return false;
    }
    let base_status = fields.get("base_resp").and_then(|base| base.get("status_code"));
    is_error_event
        || fields.get("object").and_then(Value::as_str) == Some("error")
        || base_status.and_then(Value::as_i64).is_some_and(|code| code != 0)
        || ["choices", "usage"].iter().all(|key| !fields.contains_key(*key))
            && ["message", "detail", "msg"].into_iter().any(has)
}

fn says_something(part: &Map<String, Value>) -> bool {
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    part.iter().any(|(key, value)| key != "role" && is_said(value))
}

/// The text of a content, and the thoughts among its parts.
fn words(content: Option<&Value>) -> (String, String) {
    let (mut text, mut thought) = (String::new(), String::new());
    match content {
        Some(Value::String(words)) => text.push_str(words),
        Some(Value::Number(number)) => text.push_str(&number.to_string()),
        Some(Value::Array(parts)) => {
            for part in parts {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                match (kind, part) {
                    (_, Value::String(words)) => text.push_str(words),
                    ("thinking" | "reasoning", _) => {
                        let inner = part.get("thinking").or_else(|| part.get("text"));
                        thought.push_str(&words_of_parts(inner));
                    }
                    _ => {
                        text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default())
                    }
                }
            }
        }
        _ => {}
    }
    (text, thought)
}

/// What a message holds besides words and calls: OpenRouter has a field for images, OpenAI one for
/// sounds, others have parts of content.
fn not_kept(part: &Map<String, Value>) -> Option<String> {
    if part.get("images").and_then(Value::as_array).is_some_and(|images| !images.is_empty()) {
        return Some("an image".to_owned());
    }
    if part.get("audio").and_then(Value::as_object).is_some_and(|sound| !sound.is_empty()) {
        return Some("a sound".to_owned());
    }
    kind_not_read(part.get("content")?).map(called)
}

/// The form of a content that holds no text.
fn unread(content: Option<&Value>) -> Option<String> {
    match content? {
        Value::Object(_) => Some("an object".to_owned()),
        content => kind_not_read(content).map(called),
    }
}

/// The type of the first part that is neither text nor a thought, nor says where a text is from.
fn kind_not_read(content: &Value) -> Option<&str> {
    let is_read = |kind: &str| {
        let kinds = ["text", "output_text", "thinking", "reasoning", "refusal", "reference"];
        kinds.contains(&kind)
    };
    let parts = content.as_array().into_iter().flatten();
    let unread = parts.filter(|part| part.get("text").is_none_or(Value::is_null));
    unread.filter_map(|part| part.get("type")?.as_str()).find(|kind| !is_read(kind))
}

/// A type of content, for people.
fn called(kind: &str) -> String {
    match kind {
        kind if kind.contains("image") => "an image".to_owned(),
        kind if kind.contains("audio") => "a sound".to_owned(),
        kind => format!("a part of type `{}`", cut(kind, KIND_MAX_CHARS)),
    }
}

fn words_of_parts(parts: Option<&Value>) -> String {
    match parts {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()
        }
        _ => String::new(),
    }
}

/// `None` for no reason at all: some servers write the word `null`.
fn stopped(reason: &str, choice: &Value) -> Option<Stopped> {
    let failed = |words: &str| Some(Stopped::Failed(words.to_owned()));
    match reason.to_ascii_lowercase().as_str() {
        "" | "null" => None,
        "length" | "max_tokens" | "max_output_tokens" | "model_length" | "token_limit" => {
            Some(Stopped::Length)
        }
        "model_context_window_exceeded" => Some(Stopped::ContextFull),
        "tool_calls" | "function_call" | "tool_use" => Some(Stopped::Calls),
        "content_filter" | "safety" | "sensitive" | "recitation" | "prohibited_content"
        | "blocklist" | "spii" | "refusal" => {
            Some(Stopped::Filtered(filtered_words(reason, choice)))
        }
        "error" => failed("it ended its answer with an error"),
        "insufficient_system_resource" => failed("it ran out of resources in its answer"),
        "network_error" | "abort" | "aborted" | "cancelled" => {
            failed(&format!("it broke its answer off: `{reason}`"))
        }
        // Gemini's endpoint for OpenAI's clients puts a word in front.
        "malformed_function_call"
        | "function_call_filter: malformed_function_call"
        | "unexpected_tool_call" => failed("it could not put a tool call together"),
        _ => Some(Stopped::Done), // `stop`, and what other servers call it.
    }
}

/// What was found by a filter, where the provider says it.
fn filtered_words(reason: &str, choice: &Value) -> String {
    let results = choice.get("content_filter_results").and_then(Value::as_object);
    let found = results.into_iter().flatten().filter_map(|(category, found)| {
        let severity = found.get("severity").and_then(Value::as_str);
        let is_filtered = found.get("filtered").and_then(Value::as_bool).unwrap_or(false);
        is_filtered.then(|| match severity {
            Some(severity) => format!("{category} ({severity})"),
            None => category.clone(),
        })
    });
    let found = found.collect::<Vec<_>>().join(", ");
    match found.is_empty() {
        true => format!("`{reason}`"),
        false => format!("`{reason}`: {found}"),
    }
}

/// The figures of a usage, wherever a server puts them; what is no count is left out.
fn counted(usage: &Value, thoughts_in_total: bool) -> Counted {
    let figure = |path: &str| tokens(usage.pointer(path)?);
    let first = |paths: &[&str]| paths.iter().find_map(|path| figure(path));
    let input = first(&["/prompt_tokens", "/input_tokens"]);
    let output = first(&["/completion_tokens", "/output_tokens"]);
    let reasoning = first(&[
        "/completion_tokens_details/reasoning_tokens",
        "/output_tokens_details/reasoning_tokens",
        "/reasoning_tokens",
    ]);
    let total = figure("/total_tokens").filter(|_| thoughts_in_total).unwrap_or(0);
    let apart = match (input, output) {
        (Some(input), Some(output)) => total.saturating_sub(input.saturating_add(output)),
        _ => 0,
    };
    Counted {
        input,
        output: output.map(|output| output.saturating_add(apart)),
        cached: first(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cached_tokens",
            "/prompt_cache_hit_tokens",
            "/cache_read_input_tokens",
        ]),
        reasoning: match apart {
            0 => reasoning,
            apart => Some(reasoning.unwrap_or(0).max(apart)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_wherever_a_server_puts_them() {
        let check_as = |thoughts_in_total, usage: Value, expected: [Option<u64>; 4]| {
            let found = counted(&usage, thoughts_in_total);
            assert_eq!(
                [found.input, found.output, found.cached, found.reasoning],
                expected,
                "{usage}"
            );
        };
        let check = |usage, expected| check_as(false, usage, expected);
        check(
            json!({"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
                   "prompt_tokens_details": {"cached_tokens": 60},
                   "completion_tokens_details": {"reasoning_tokens": 3}}),
            [Some(100), Some(7), Some(60), Some(3)],
        );
        let more_in_total =
            || json!({"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 905});
        check_as(true, more_in_total(), [Some(100), Some(805), None, Some(800)]);
        check(more_in_total(), [Some(100), Some(5), None, None]);
        check(
            json!({"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 40}),
            [Some(100), Some(5), Some(40), None],
        );
        check(
            json!({"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 64,
                   "prompt_cache_miss_tokens": 36}),
            [Some(100), Some(5), Some(64), None],
        );
        check(json!({"input_tokens": 9.0, "output_tokens": 2}), [Some(9), Some(2), None, None]);
        for nothing in [
            json!(null),
            json!(""),
            json!([]),
            json!("100"),
            json!({"prompt_tokens": -1, "completion_tokens": "5", "total_tokens": null}),
            json!({"prompt_tokens": [], "completion_tokens": {}, "prompt_tokens_details": 5}),
            // More than any model can count: -1 that was wrapped, and its like.
            json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX - 1,
                   "prompt_tokens_details": {"cached_tokens": i64::MAX}}),
            json!({"prompt_tokens": 4_294_967_295_u64, "completion_tokens": 1e14}),
        ] {
            check(nothing, [None; 4]);
        }
    }
}
