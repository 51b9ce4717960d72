//! Server-sent events: bytes in, events out, wherever the chunks are cut.
//!
//! The form is the [WHATWG's](https://html.spec.whatwg.org/multipage/server-sent-events.html),
//! without `id` and `retry`, which no model provider uses. Bounded: a line or an event beyond
//! [`EVENT_MAX_BYTES`] is an error.

use std::collections::VecDeque;

use crate::{
    error::ModelError,
    limits::{EVENT_MAX_BYTES, check},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Its `event` field; empty when there was none.
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Turns chunks into events.
#[derive(Debug, Default)]
pub(crate) struct SseDecoder {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    after_carriage_return: bool,
    past_first_line: bool,
}

impl SseDecoder {
    /// Takes a chunk and appends the events that it completes.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        events: &mut VecDeque<SseEvent>,
    ) -> Result<(), ModelError> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, tail) = rest.split_at(end);
            let (terminator, tail) = tail.split_first().expect("`end` is a position within");
            rest = tail;
            // A line feed right behind a carriage return belongs to it, even across chunks.
            let second_half = std::mem::take(&mut self.after_carriage_return)
                && line.is_empty()
                && *terminator == b'\n';
            if second_half {
                continue;
            }
            self.after_carriage_return = *terminator == b'\r';
            self.extend_line(line)?;
            self.end_line(events)?;
        }
        if !rest.is_empty() {
            self.after_carriage_return = false;
            self.extend_line(rest)?;
        }
        Ok(())
    }

    /// The body has ended. An event that lacks its blank line still counts: some servers close
    /// right behind `data: [DONE]`, and what was cut inside its JSON fails to parse later.
    pub(crate) fn finish(&mut self, events: &mut VecDeque<SseEvent>) -> Result<(), ModelError> {
        if !self.line.is_empty() {
            self.end_line(events)?;
        }
        self.end_line(events)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        check("EVENT_MAX_BYTES", self.line.len() + bytes.len(), EVENT_MAX_BYTES)?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut VecDeque<SseEvent>) -> Result<(), ModelError> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let mut line: &str = &text;
        if !std::mem::replace(&mut self.past_first_line, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            if let Some(data) = self.data.take() {
                events.push_back(SseEvent { name, data });
            }
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "error" if !value.is_empty() => {
                // How llama.cpp says that something went wrong.
                "error".clone_into(&mut self.name);
                self.data = Some(value.to_owned());
            }
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    check("EVENT_MAX_BYTES", data.len() + value.len() + 1, EVENT_MAX_BYTES)?;
                    data.push('\n');
                    data.push_str(value);
                }
            },
            _ => {} // Comments and fields that we do not use.
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let (mut decoder, mut events) = (SseDecoder::default(), VecDeque::new());
        for chunk in chunks {
            decoder.feed(chunk, &mut events).unwrap();
        }
        decoder.finish(&mut events).unwrap();
        events.into_iter().map(|event| (event.name, event.data)).collect()
    }

    fn check_decoded(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, data)| (name.to_string(), data.to_string())).collect();
        assert_eq!(decode([text.as_bytes()]), expected, "{text:?}");
        assert_eq!(decode(text.as_bytes().chunks(1)), expected, "{text:?} byte by byte");
    }

    #[test]
    fn the_forms_that_servers_send() {
        check_decoded("data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
        check_decoded("event: x\ndata: a\n\n", &[("x", "a")]);
        check_decoded("event: x\n\ndata: a\n\n", &[("", "a")]);
        check_decoded("data:a\r\n\r\ndata:  b\r\r", &[("", "a"), ("", " b")]);
        check_decoded("data: a\ndata: b\ndata\n\n", &[("", "a\nb\n")]);
        check_decoded(": comment\nid: 7\nretry: 1\nodd\n\n", &[]);
        check_decoded("\u{feff}data: 中文\n\n", &[("", "中文")]);
        check_decoded("data: [DONE]", &[("", "[DONE]")]);
        check_decoded("data: [DONE]\n", &[("", "[DONE]")]);
        check_decoded("", &[]);
    }

    #[test]
    fn a_giant_line_and_a_giant_event_are_refused() {
        let (mut decoder, mut events) = (SseDecoder::default(), VecDeque::new());
        let megabyte = vec![b'x'; 1024 * 1024];
        let outcome = (0..9).try_for_each(|_| decoder.feed(&megabyte, &mut events));
        assert_eq!(
            outcome,
            Err(ModelError::Limit { limit: "EVENT_MAX_BYTES", max: EVENT_MAX_BYTES })
        );

        let (mut decoder, line) =
            (SseDecoder::default(), [b"data: ", &megabyte[..], b"\n"].concat());
        let outcome = (0..9).try_for_each(|_| decoder.feed(&line, &mut events));
        assert!(matches!(outcome, Err(ModelError::Limit { .. })));
        assert!(events.is_empty());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            lines in prop::collection::vec(
                prop_oneof![
                    Just(String::new()),
                    Just("data: {\"a\":\"中文🙂\"}".to_owned()),
                    Just("event: message_stop".to_owned()),
                    Just(": keep-alive".to_owned()),
                    "[a-z:é ]{0,12}",
                ],
                0..12,
            ),
            terminators in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text: String = lines.iter().zip(&terminators).map(|(l, t)| format!("{l}{t}")).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(decode(chunks), decode([bytes]));
        }
    }
}
