//! From bytes to an answer: events in either wire format, or a whole answer that was not streamed.
//! No IO.

use std::collections::VecDeque;

use crate::{
    answer::{Increment, PartialAnswer},
    anthropic,
    error::{ModelError, PROVIDER_MESSAGE_MAX_CHARS, cut},
    json,
    limits::EVENT_MAX_BYTES,
    openai,
    said::Said,
    settings::WireFormat,
    sse::{SseDecoder, SseEvent},
    tool_schema::SchemaDialect,
};

/// Assembles an answer, however its bytes are split.
pub(crate) struct AnswerStream {
    reader: AnswerReader,
    decoder: SseDecoder,
    events: VecDeque<SseEvent>,
    has_events: bool,
    /// What came before the first event: a whole answer, if there is none.
    unframed: Vec<u8>,
}

enum AnswerReader {
    Completion(Box<openai::CompletionReader>),
    Messages(Box<anthropic::MessagesReader>),
}

/// What some bytes have added.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub(crate) texts: Vec<String>,
    /// Any part of the answer, text or not.
    pub(crate) is_something: bool,
    /// The end marker was among them: nothing follows.
    pub(crate) is_end: bool,
}

impl AnswerStream {
    pub(crate) fn new(format: WireFormat, dialect: SchemaDialect) -> Self {
        let reader = match format {
            WireFormat::Anthropic => AnswerReader::Messages(Box::default()),
            WireFormat::OpenAi | WireFormat::Demo => {
                AnswerReader::Completion(Box::new(openai::CompletionReader::new(dialect)))
            }
        };
        Self {
            reader,
            decoder: SseDecoder::default(),
            events: VecDeque::new(),
            has_events: false,
            unframed: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Result<Added, ModelError> {
        if !self.has_events && self.unframed.len() < EVENT_MAX_BYTES {
            self.unframed.extend_from_slice(chunk);
        }
        self.decoder.feed(chunk, &mut self.events)?;
        self.read_events()
    }

    /// A reason to stop has come: what is missing of the body is no part of the answer.
    pub(crate) fn has_stopped(&self) -> bool {
        match &self.reader {
            AnswerReader::Completion(reader) => reader.has_stopped(),
            AnswerReader::Messages(_) => false, // Its end marker says so, and is awaited.
        }
    }

    /// The body has ended cleanly, or its end marker has been seen.
    pub(crate) fn finish(mut self) -> Result<(Added, PartialAnswer), ModelError> {
        self.decoder.finish(&mut self.events)?;
        let mut added = self.read_events()?;
        if !self.has_events {
            self.read_unframed(&mut added)?;
        }
        let mut answer = match self.reader {
            AnswerReader::Completion(reader) => reader.finish()?,
            AnswerReader::Messages(reader) => reader.finish()?,
        };
        if let Some(words) = answer.end_text()? {
            added.take(Increment::Text(words));
        }
        Ok((added, answer))
    }

    fn read_events(&mut self) -> Result<Added, ModelError> {
        let mut added = Added::default();
        while let Some(event) = self.events.pop_front() {
            if !std::mem::replace(&mut self.has_events, true) {
                self.unframed = Vec::new();
            }
            added.take(match &mut self.reader {
                AnswerReader::Completion(reader) => reader.read(&event)?,
                AnswerReader::Messages(reader) => reader.read(&event)?,
            });
            if added.is_end {
                self.events.clear();
            }
        }
        Ok(added)
    }

    /// A body that is not an event stream: a whole answer, or objects one after another.
    fn read_unframed(&mut self, added: &mut Added) -> Result<(), ModelError> {
        let text = String::from_utf8_lossy(&self.unframed);
        let Some(values) = json::parse_all(&text) else {
            let words = cut(&Said::from_body(&self.unframed).words, PROVIDER_MESSAGE_MAX_CHARS);
            let what = "the answer is not an event stream: check the base URL";
            return Err(ModelError::protocol(match words.is_empty() {
                true => what.to_owned(),
                false => format!("{what}; it says: {words}"),
            }));
        };
        for value in &values {
            added.take(match &mut self.reader {
                AnswerReader::Completion(reader) => reader.read_frame(value, false)?,
                AnswerReader::Messages(reader) => match value.as_object() {
                    Some(fields) => reader.read_event(fields, "")?,
                    None => Increment::Nothing,
                },
            });
        }
        Ok(())
    }
}

impl Added {
    fn take(&mut self, increment: Increment) {
        match increment {
            Increment::Nothing => {}
            Increment::Part => self.is_something = true,
            Increment::Text(text) => {
                self.is_something = true;
                self.texts.push(text);
            }
            Increment::End => self.is_end = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use expect_test::expect_file;
    use proptest::prelude::*;
    use protocol::message::Usage;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::answer::{Circumstances, JudgedAnswer};

    /// The cases of one provider: recorded by hand after what its servers are known to send.
    fn cases(provider: &str) -> Vec<(String, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        let text = fs::read_to_string(folder.join(format!("{provider}.sse"))).unwrap();
        text.split("=== ")
            .skip(1)
            .map(|case| case.split_once('\n').unwrap())
            .map(|(name, body)| (name.to_owned(), body.to_owned()))
            .collect()
    }

    const PROVIDERS: [&str; 17] = [
        "anthropic",
        "azure",
        "deepseek",
        "gemini",
        "litellm",
        "llamacpp",
        "lmstudio",
        "mistral",
        "moonshot",
        "ollama",
        "openai",
        "openrouter",
        "qwen",
        "reported",
        "reported-anthropic",
        "sglang",
        "vllm",
    ];

    struct Told {
        text: String,
        answer: Result<JudgedAnswer, ModelError>,
        usage: Usage,
        replay: Option<Value>,
    }

    fn read<'a>(provider: &str, chunks: impl IntoIterator<Item = &'a [u8]>) -> Told {
        let format = match provider {
            "anthropic" | "reported-anthropic" => WireFormat::Anthropic,
            _ => WireFormat::OpenAi,
        };
        let mut told = Told {
            text: String::new(),
            answer: Err(ModelError::Truncated),
            usage: Usage::default(),
            replay: None,
        };
        let dialect = match provider {
            "gemini" => SchemaDialect::Gemini,
            _ => SchemaDialect::Usual,
        };
        told.answer = read_into(&mut told, AnswerStream::new(format, dialect), chunks);
        told
    }

    fn read_into<'a>(
        told: &mut Told,
        mut stream: AnswerStream,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<JudgedAnswer, ModelError> {
        for chunk in chunks {
            let added = stream.feed(chunk)?;
            told.text.extend(added.texts);
            if added.is_end {
                break;
            }
        }
        let (added, mut answer) = stream.finish()?;
        told.text.extend(added.texts);
        told.usage = answer.usage.or_estimated(Usage::default());
        told.replay = answer.replay.take();
        answer.judged(Circumstances { max_tokens: Some(50), may_say_nothing: false })
    }

    fn line(told: &Told) -> String {
        let Told { text, answer, usage, replay } = told;
        let counted = format!(
            "{} in ({} cached), {} out ({} reasoning)",
            usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens
        );
        let answer = match answer {
            Err(error) => return format!("  error {error}\n"), // What was streamed is void.
            Ok(answer) => answer,
        };
        assert_eq!(*text, answer.content, "what is streamed is what is kept");
        let calls: Vec<_> =
            answer.calls.iter().map(|call| format!("{} {}", call.tool, call.args)).collect();
        let mut lines = format!("  {:?} {text:?} {counted}\n", answer.finish_reason);
        for call in calls {
            lines.push_str(&format!("  call {call}\n"));
        }
        if let Some(cut) = &answer.cut {
            lines.push_str(&format!("  cut: {cut}\n"));
        }
        if let Some(replay) = replay {
            lines.push_str(&format!("  sent back: {replay}\n"));
        }
        lines
    }

    #[test]
    fn every_dialect_is_understood() {
        for provider in PROVIDERS {
            let mut told = String::new();
            for (name, body) in cases(provider) {
                told.push_str(&format!("{name}\n{}", line(&read(provider, [body.as_bytes()]))));
            }
            let path = format!("{}/tests/corpus/{provider}.told", env!("CARGO_MANIFEST_DIR"));
            expect_file![path].assert_eq(&told);
        }
    }

    /// Frames with a field that nobody knows, in one of their objects.
    fn with_unknown_field(body: &str, place: prop::sample::Index, value: &Value) -> String {
        let mut objects = 0;
        for line in body.lines() {
            if let Some(mut frame) = frame_of(line) {
                visit(&mut frame, &mut |_| objects += 1);
            }
        }
        if objects == 0 {
            return body.to_owned();
        }
        let chosen = place.index(objects);
        let mut at = 0;
        let lines = body.lines().map(|line| {
            let Some(mut frame) = frame_of(line) else { return line.to_owned() };
            visit(&mut frame, &mut |fields| {
                if at == chosen {
                    fields.insert("x_unknown".into(), value.clone());
                }
                at += 1;
            });
            let (field, _) = line.split_at(line.find('{').unwrap());
            format!("{field}{frame}")
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }

    fn frame_of(line: &str) -> Option<Value> {
        let json = line.get(line.find('{')?..)?;
        serde_json::from_str(json).ok().filter(Value::is_object)
    }

    /// Every object of a frame, but for those that are kept whole.
    fn visit(value: &mut Value, see: &mut impl FnMut(&mut Map<String, Value>)) {
        match value {
            Value::Object(fields) => {
                see(fields);
                for (key, inner) in fields.iter_mut() {
                    let is_whole = ["extra_content", "reasoning_details", "input", "arguments"];
                    if !is_whole.contains(&key.as_str()) {
                        visit(inner, see);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| visit(item, see)),
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cut_of_the_bytes_gives_the_same_answer(
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            for provider in PROVIDERS {
                for (name, body) in cases(provider) {
                    let bytes = body.as_bytes();
                    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
                    cuts.extend([0, bytes.len()]);
                    cuts.sort_unstable();
                    let chunks = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
                    let (cut, whole) = (read(provider, chunks), read(provider, [bytes]));
                    prop_assert_eq!(line(&cut), line(&whole), "{} {}", provider, name);
                }
            }
        }

        #[test]
        fn an_unknown_field_changes_nothing(
            place in any::<prop::sample::Index>(),
            value in prop::sample::select(vec![
                json!(null), json!(""), json!("text"), json!([]), json!({}), json!(-1), json!(1.5),
                json!(true), json!([{"content": "no"}]), json!({"error": {"message": "no"}}),
            ]),
        ) {
            for provider in PROVIDERS {
                for (name, body) in cases(provider) {
                    let odd = with_unknown_field(&body, place, &value);
                    let (odd, plain) = (read(provider, [odd.as_bytes()]), read(provider, [body.as_bytes()]));
                    prop_assert_eq!(line(&odd), line(&plain), "{} {}", provider, name);
                }
            }
        }
    }
}
