//! Server-sent events: bytes in, frames out, wherever the chunks are cut.
//!
//! Reads what our own server writes: lines end in `\n`, `retry` and comments carry nothing.

/// Longest line; ours are far shorter (an event is at most a few MiB).
const LINE_MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SseFrame {
    pub(crate) event: String,
    /// Its `id`, where it has one.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// The line was longer than any of ours.
#[derive(Debug)]
pub(crate) struct LineTooLong;

/// Turns chunks into frames.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    rest: Vec<u8>,
    frame: SseFrame,
}

impl FrameDecoder {
    /// Takes a chunk and returns the frames that it completes.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Result<Vec<SseFrame>, LineTooLong> {
        let mut frames = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.len() > LINE_MAX_BYTES {
                return Err(LineTooLong);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                frames.extend(
                    self.take_line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])),
                );
            }
        }
        Ok(frames)
    }

    fn take_line(&mut self, line: &str) -> Option<SseFrame> {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return (!frame.data.is_empty()).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.frame.event = value.to_owned(),
            "id" => self.frame.id = Some(value.to_owned()),
            "data" => {
                if !self.frame.data.is_empty() {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_chunks_do_not_matter() {
        let text = "retry: 1000\n\n: hb\n\nid: 1\nevent: run.started\ndata: {\"a\":\"中\"}\n\n\
                    id: 1.1\nevent: llm.delta\ndata: x\r\ndata: y\n\n";
        let want = [
            SseFrame {
                event: "run.started".into(),
                id: Some("1".into()),
                data: "{\"a\":\"中\"}".into(),
            },
            SseFrame { event: "llm.delta".into(), id: Some("1.1".into()), data: "x\ny".into() },
        ];
        for size in 1..text.len() {
            let mut decoder = FrameDecoder::default();
            let frames: Vec<SseFrame> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|chunk| decoder.feed(chunk).unwrap())
                .collect();
            assert_eq!(frames, want, "chunks of {size}");
        }
    }

    #[test]
    fn half_a_frame_is_no_frame() {
        let mut decoder = FrameDecoder::default();
        assert_eq!(decoder.feed(b"id: 1\nevent: a\ndata: x\n").unwrap(), []);
    }
}
