//! The standard output of a server on its way to the SDK: whole lines of JSON, bounded in size,
//! number and rate. `lines` knows what a line means.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    time::{Instant, sleep_until},
};

use crate::lines;

/// Longest message, in bytes.
pub(crate) const LINE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most lines that are no message within [`GARBAGE_WINDOW`]: some programs log where they should
/// not, and still do their work.
pub(crate) const GARBAGE_MAX_LINES: usize = 1_000;
/// The period in which invalid lines are counted: see [`GARBAGE_MAX_LINES`].
pub(crate) const GARBAGE_WINDOW: Duration = Duration::from_secs(10);
/// What is read in one second, in bytes; then the pipe fills, and the server waits.
pub(crate) const READ_MAX_BYTES_PER_S: usize = 16 * 1024 * 1024;

/// Why the output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireEnd {
    #[error("it closed its output")]
    Closed,
    #[error("it wrote a line of more than {LINE_MAX_BYTES} bytes")]
    LineTooLong,
    #[error(
        "it wrote more than {GARBAGE_MAX_LINES} lines that are not JSON within {} s: logs belong on standard error",
        GARBAGE_WINDOW.as_secs()
    )]
    Garbage,
}

/// Forwards messages until the server closes its output or breaks a bound.
pub(crate) async fn forward(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> WireEnd {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let mut spread = Spread::default();
    let mut garbage = (Instant::now(), 0);
    let mut second = (Instant::now(), 0);
    loop {
        line.clear();
        line.shrink_to(64 * 1024);
        let mut bounded = (&mut from).take(LINE_MAX_BYTES as u64 + 1);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return WireEnd::Closed,
            Ok(_) if line.len() > LINE_MAX_BYTES => return WireEnd::LineTooLong,
            Ok(count) => throttle(&mut second, count).await,
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Some(line) = spread.whole(&line) else { continue };
        let Some(message) = lines::message(line) else {
            if garbage.0.elapsed() >= GARBAGE_WINDOW {
                garbage = (Instant::now(), 0);
            }
            garbage.1 += 1;
            if garbage.1 > GARBAGE_MAX_LINES {
                return WireEnd::Garbage;
            }
            continue;
        };
        if to.write_all(&message).await.is_err() || to.write_all(b"\n").await.is_err() {
            return WireEnd::Closed;
        }
    }
}

/// A message that is spread over lines: an opening bracket alone, indented lines, a closing one.
#[derive(Debug, Default)]
struct Spread {
    lines: Vec<u8>,
    is_whole: bool,
}

impl Spread {
    /// A line of its own, or the whole of what was spread over lines; none while more is to come.
    fn whole<'a>(&'a mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        if std::mem::take(&mut self.is_whole) {
            self.lines = Vec::new();
        }
        let begins = matches!(line.trim_ascii_end(), b"{" | b"[");
        let goes_on = line.starts_with(b" ") || line.starts_with(b"\t");
        self.is_whole = matches!(line.trim_ascii_end(), b"}" | b"]");
        if begins {
            self.lines = line.to_vec();
            return None;
        }
        let is_within = !self.lines.is_empty() && (goes_on || self.is_whole);
        if !is_within || self.lines.len() + line.len() > LINE_MAX_BYTES {
            self.lines = Vec::new();
            return Some(line);
        }
        self.lines.extend_from_slice(line);
        self.is_whole.then_some(self.lines.as_slice())
    }
}

async fn throttle((since, bytes): &mut (Instant, usize), count: usize) {
    const SECOND: Duration = Duration::from_secs(1);
    *bytes += count;
    if *bytes > READ_MAX_BYTES_PER_S {
        sleep_until(*since + SECOND).await;
    }
    if since.elapsed() >= SECOND {
        (*since, *bytes) = (Instant::now(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(input: &[u8], forwarded: &str, end: WireEnd) {
        let mut output = Vec::new();
        assert_eq!(forward(input, &mut output).await, end);
        assert_eq!(String::from_utf8_lossy(&output), forwarded);
    }

    #[tokio::test]
    async fn only_messages_pass() {
        check(b"", "", WireEnd::Closed).await;
        check(b"{\"a\":1}\r\n\n  {}\n", "{\"a\":1}\n{}\n", WireEnd::Closed).await;
        check(b"hello\n\xff\xfe\n{\"a\":\n[]\n1\n{}\n", "{}\n", WireEnd::Closed).await;
        check("log\n".repeat(1_000).as_bytes(), "", WireEnd::Closed).await;
        check("log\n".repeat(1_001).as_bytes(), "", WireEnd::Garbage).await;
    }

    #[tokio::test]
    async fn a_message_may_be_spread_over_lines() {
        let spread =
            "{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\n  \"result\": {\n  }\n}\n{\"a\":1}\n";
        check(spread.as_bytes(), spread, WireEnd::Closed).await;
        check(b"{\n  \"a\": 1,\nlog\n{\"b\":1}\n}\n", "{\"b\":1}\n", WireEnd::Closed).await;
        let endless = "  \"x\",\n".repeat(LINE_MAX_BYTES / 8 + 1);
        check(format!("[\n{endless}{{}}\n").as_bytes(), "{}\n", WireEnd::Closed).await;
    }

    #[tokio::test(start_paused = true)]
    async fn stray_lines_are_counted_by_time() {
        let (ours, mut theirs) = tokio::io::duplex(1024 * 1024);
        let said = async move {
            for _ in 0..10 {
                theirs.write_all("log\n".repeat(900).as_bytes()).await.unwrap();
                tokio::time::sleep(GARBAGE_WINDOW).await;
            }
        };
        let mut output = Vec::new();
        assert_eq!(tokio::join!(forward(ours, &mut output), said).0, WireEnd::Closed);
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_collected() {
        let mut line = vec![b' '; LINE_MAX_BYTES - 3];
        line.extend_from_slice(b"{}\n");
        check(&line, "{}\n", WireEnd::Closed).await;
        line.insert(0, b' ');
        check(&line, "", WireEnd::LineTooLong).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1024 * 1024));
        let start = Instant::now();
        forward(line.repeat(40).as_bytes(), tokio::io::sink()).await;
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
