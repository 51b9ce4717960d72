//! The end of what a server writes to its standard error, across restarts.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::text::printable;

/// How much is kept, in bytes.
pub(crate) const STDERR_MAX_BYTES: usize = 64 * 1024;

/// How much of it an error repeats, in bytes.
const LAST_WORDS_MAX_BYTES: usize = 400;

#[derive(Debug, Clone, Default)]
pub(crate) struct StderrTail(Arc<Mutex<VecDeque<u8>>>);

impl StderrTail {
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines, on one line; none where it said nothing.
    pub(crate) fn last_words(&self) -> Option<String> {
        let text = self.text();
        let start = text.ceil_char_boundary(text.len().saturating_sub(LAST_WORDS_MAX_BYTES));
        let words = printable(text.get(start..).unwrap_or_default(), LAST_WORDS_MAX_BYTES);
        let lines: Vec<_> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }

    /// Always reads to the end: a server would block when the pipe of its standard error is full.
    pub(crate) async fn drain(self, server: String, mut stderr: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            let read = buffer.get(..count).unwrap_or_default();
            tracing::debug!(server, text = %String::from_utf8_lossy(read).trim_end(), "stderr");
            let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(read);
            let excess = tail.len().saturating_sub(STDERR_MAX_BYTES);
            tail.drain(..excess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_end() {
        let tail = StderrTail::default();
        let mut text = vec![b'x'; 200_000];
        text.extend_from_slice(b"the end");
        tail.clone().drain("s".into(), text.as_slice()).await;
        assert_eq!(tail.text().len(), STDERR_MAX_BYTES);
        assert!(tail.text().ends_with("xthe end"));
    }
}
