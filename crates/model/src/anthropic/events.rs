//! Reading an answer of Anthropic's messages, streamed or whole.
//!
//! Lenient where nothing is lost: a field that is null, unknown or of another type is treated as
//! absent.

use serde_json::{Map, Value, json};

use crate::{
    answer::{Counted, Increment, PartialAnswer, Stopped, extend_reasoning, tokens},
    error::ModelError,
    json,
    limits::{CALL_ARGS_MAX_BYTES, CALLS_MAX, REASONING_MAX_BYTES, check},
    said::{Said, is_error},
    sse::SseEvent,
};

/// Most content blocks of an answer: text, reasoning and calls.
const BLOCKS_MAX: usize = 4 * CALLS_MAX;

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct MessagesReader {
    answer: PartialAnswer,
    /// With the index that the provider gave.
    blocks: Vec<(u64, ContentBlock)>,
    has_stopped: bool,
    usage: MessagesUsage,
}

#[derive(Debug)]
enum ContentBlock {
    Text {
        bytes: usize,
    },
    /// `input` is what stood in the block itself.
    Call {
        place: usize,
        id: String,
        input: String,
    },
    Thinking {
        text: String,
        signature: String,
    },
    Redacted {
        data: Value,
    },
    Other,
}

impl MessagesReader {
    pub(crate) fn read(&mut self, event: &SseEvent) -> Result<Increment, ModelError> {
        let data = event.data.trim();
        match json::parse::<Value>(data) {
            Ok(Value::Object(fields)) => self.read_event(&fields, &event.name),
            Ok(_) => Ok(Increment::Nothing),
            Err(_) if !data.starts_with('{') => Ok(Increment::Nothing),
            Err(_) => Err(ModelError::protocol("an event is not one of the messages API")),
        }
    }

    /// Takes one event, or a whole message.
    pub(crate) fn read_event(
        &mut self,
        fields: &Map<String, Value>,
        name: &str,
    ) -> Result<Increment, ModelError> {
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or(name);
        let index = fields.get("index").and_then(Value::as_u64).unwrap_or(0);
        let object = |key: &str| fields.get(key).and_then(Value::as_object);
        match kind {
            "message_start" => {
                // The output of the start is a placeholder.
                self.usage.count_prompt(object("message").and_then(|message| message.get("usage")));
                Ok(Increment::Nothing)
            }
            "content_block_start" => match object("content_block") {
                Some(block) => self.open_block(index, block),
                None => Ok(Increment::Nothing),
            },
            "content_block_delta" => match object("delta") {
                Some(delta) => self.extend_block(index, delta),
                None => Ok(Increment::Nothing),
            },
            "message_delta" => {
                self.usage.update(fields.get("usage"));
                self.stop(object("delta"));
                Ok(Increment::Nothing)
            }
            "message_stop" => {
                self.has_stopped = true;
                Ok(Increment::End)
            }
            "message" => self.read_whole(fields),
            "error" => Err(Said::from_json(&Value::Object(fields.clone())).error(None, None)),
            // `ping`, `content_block_stop`, and events yet to come.
            _ if fields.get("error").is_some_and(is_error) => {
                Err(Said::from_json(&Value::Object(fields.clone())).error(None, None))
            }
            _ => Ok(Increment::Nothing),
        }
    }

    /// Everything that came, to be judged.
    pub(crate) fn finish(mut self) -> Result<PartialAnswer, ModelError> {
        if !self.has_stopped {
            return Err(ModelError::Truncated);
        }
        self.answer.stopped.get_or_insert(Stopped::Done);
        self.answer.usage = self.usage.counted();
        let mut order = Vec::new();
        let mut calls = Vec::new();
        for (_, block) in self.blocks {
            match block {
                ContentBlock::Text { bytes: 0 } | ContentBlock::Other => {}
                ContentBlock::Text { bytes } => order.push(json!({"text_bytes": bytes})),
                ContentBlock::Call { place, id, input } => {
                    // Some say it in the block and in the deltas.
                    if let Some(call) = self.answer.calls.get_mut(place).filter(|c| c.is_bare()) {
                        call.args = input;
                    }
                    order.push(json!({"call": place}));
                    calls.push(json!({"id": id}));
                }
                ContentBlock::Thinking { text, signature } => {
                    order.push(
                        json!({"type": "thinking", "thinking": text, "signature": signature}),
                    );
                }
                ContentBlock::Redacted { data } => {
                    order.push(json!({"type": "redacted_thinking", "data": data}));
                }
            }
        }
        // A text alone needs nothing beside it.
        let only_text = order.iter().all(|block| block.get("text_bytes").is_some());
        self.answer.replay = (!only_text).then(|| json!({"order": order, "calls": calls}));
        Ok(self.answer)
    }

    fn stop(&mut self, fields: Option<&Map<String, Value>>) {
        let Some(fields) = fields else { return };
        let Some(reason) = fields.get("stop_reason").and_then(Value::as_str) else { return };
        self.answer.stopped = Some(match reason {
            "max_tokens" => Stopped::Length,
            "model_context_window_exceeded" => Stopped::ContextFull,
            "tool_use" => Stopped::Calls,
            "refusal" => {
                let words =
                    fields.get("stop_details").map(|details| Said::from_json(details).words);
                let words = words.filter(|words| !words.is_empty());
                Stopped::Filtered(words.unwrap_or_else(|| "`refusal`".to_owned()))
            }
            _ => Stopped::Done, // `end_turn`, `stop_sequence`, `pause_turn`.
        });
    }

    /// An answer to a request that was not streamed.
    fn read_whole(&mut self, message: &Map<String, Value>) -> Result<Increment, ModelError> {
        let mut text = String::new();
        let blocks = message.get("content").and_then(Value::as_array);
        for (block, index) in blocks.into_iter().flatten().filter_map(Value::as_object).zip(0..) {
            if let Increment::Text(words) = self.open_block(index, block)? {
                text.push_str(&words);
            }
        }
        self.usage.update(message.get("usage"));
        self.stop(Some(message));
        self.has_stopped = true;
        Ok(if text.is_empty() { Increment::Part } else { Increment::Text(text) })
    }

    fn open_block(
        &mut self,
        index: u64,
        start: &Map<String, Value>,
    ) -> Result<Increment, ModelError> {
        check("BLOCKS_MAX", self.blocks.len() + 1, BLOCKS_MAX)?;
        let text = |key: &str| start.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut first = String::new();
        let block = match text("type") {
            "text" => {
                first = text("text").to_owned();
                ContentBlock::Text { bytes: 0 }
            }
            "tool_use" => {
                let place = self.answer.open_call()?;
                self.answer.extend_call(place, text("name"), "")?;
                // The input is streamed; here it stands in whole answers, and with imitations.
                let whole = start
                    .get("input")
                    .filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
                let input = whole.map(Value::to_string).unwrap_or_default();
                check("CALL_ARGS_MAX_BYTES", input.len(), CALL_ARGS_MAX_BYTES)?;
                ContentBlock::Call { place, id: text("id").to_owned(), input }
            }
            "thinking" => {
                self.answer.push_reasoning(text("thinking"))?;
                ContentBlock::Thinking {
                    text: text("thinking").into(),
                    signature: text("signature").into(),
                }
            }
            "redacted_thinking" => {
                let data = start.get("data").cloned().unwrap_or_default();
                check("REASONING_MAX_BYTES", data.to_string().len(), REASONING_MAX_BYTES)?;
                ContentBlock::Redacted { data }
            }
            kind => {
                if let Some(what) = not_kept(kind) {
                    self.answer.unread.get_or_insert_with(|| what.to_owned());
                    self.answer.left_out = Some(what.to_owned());
                }
                ContentBlock::Other
            }
        };
        self.blocks.push((index, block));
        match self.push_text(self.blocks.len() - 1, first)? {
            Increment::Nothing => Ok(Increment::Part),
            text => Ok(text),
        }
    }

    fn push_text(&mut self, at: usize, text: String) -> Result<Increment, ModelError> {
        let pushed = self.answer.push_text(text)?;
        if let (Increment::Text(text), Some((_, ContentBlock::Text { bytes }))) =
            (&pushed, self.blocks.get_mut(at))
        {
            *bytes += text.len();
        }
        Ok(pushed)
    }

    fn extend_block(
        &mut self,
        index: u64,
        delta: &Map<String, Value>,
    ) -> Result<Increment, ModelError> {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
        let at = self.blocks.iter().rposition(|(known, _)| *known == index);
        let block = at.and_then(|at| self.blocks.get_mut(at)).map(|(_, block)| block);
        match (block, text("type")) {
            (Some(ContentBlock::Text { .. }), "text_delta") => {
                self.push_text(at.unwrap_or_default(), text("text").to_owned())
            }
            (Some(ContentBlock::Call { place, .. }), "input_json_delta") => {
                self.answer.extend_call(*place, "", text("partial_json"))?;
                Ok(Increment::Part)
            }
            (Some(ContentBlock::Thinking { text: kept, .. }), "thinking_delta") => {
                extend_reasoning(kept, text("thinking"))?;
                self.answer.push_reasoning(text("thinking"))?;
                Ok(Increment::Part)
            }
            (Some(ContentBlock::Thinking { signature, .. }), "signature_delta") => {
                extend_reasoning(signature, text("signature"))?;
                Ok(Increment::Part)
            }
            (None, "text_delta" | "input_json_delta") => {
                Err(ModelError::protocol("a delta names a content block that was not begun"))
            }
            _ => Ok(Increment::Nothing),
        }
    }
}

/// What a block holds that an imitator may send, and that is not kept. Anthropic's own blocks of other
/// types are those of its server tools, which are not asked for.
fn not_kept(kind: &str) -> Option<&'static str> {
    match kind {
        "image" => Some("an image"),
        "audio" => Some("a sound"),
        "video" => Some("a video"),
        "document" | "file" => Some("a file"),
        _ => None,
    }
}

/// Cumulative figures; Anthropic counts the cached parts of the prompt apart.
#[derive(Debug, Default)]
struct MessagesUsage {
    /// With what was read from a cache and written to one.
    input: Option<u64>,
    output: Option<u64>,
    read_from_cache: Option<u64>,
}

impl MessagesUsage {
    fn update(&mut self, newer: Option<&Value>) {
        self.count_prompt(newer);
        self.output = self.output.max(tokens_at(newer, "output_tokens"));
    }

    /// A later figure never takes away from an earlier one: some send zeros at the end. Figures of a
    /// cache stand beside the rest of the input; where imitators send them later and alone, the input
    /// that they told before holds them already.
    fn count_prompt(&mut self, newer: Option<&Value>) {
        let read = tokens_at(newer, "cache_read_input_tokens");
        let written = tokens_at(newer, "cache_creation_input_tokens");
        let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
        let input = tokens_at(newer, "input_tokens").map(|fresh| fresh.saturating_add(cached));
        self.input = self.input.max(input).max((cached > 0).then_some(cached));
        self.read_from_cache = self.read_from_cache.max(read);
    }

    fn counted(&self) -> Counted {
        let Self { input, output, read_from_cache: cached } = *self;
        Counted { input, output, cached, reasoning: None }
    }
}

fn tokens_at(usage: Option<&Value>, key: &str) -> Option<u64> {
    tokens(usage?.get(key)?)
}
