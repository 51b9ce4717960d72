//! The demo model: a small deterministic planner, so that everything around a model can be seen,
//! tried and tested offline, in Chinese and English.
//!
//! It really uses the tools that it is offered. It is not a language model, and says so. It works
//! from the conversation alone: the last user message, and the calls and results after it.

mod act;
mod arguments;
mod found;
mod phrase;
mod plan;
mod say;

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures::Stream;
use protocol::message::FinishReason;
use tokio::time::{Instant, sleep};

use crate::{
    attempt::{AttemptEvent, WholeAnswer},
    chat::ChatRequest,
    demo::{act::Next, plan::Language},
};

/// `demo/paced` says one word, or one Chinese character, in this time: 40 a second.
const WORD_TIME: Duration = Duration::from_millis(25);

/// The models of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DemoModel {
    /// `demo/default`: word by word, without waiting.
    Streamed,
    /// `demo/paced`: word by word, as a model would.
    Paced,
    /// `demo/instant`: all at once.
    Instant,
}

impl DemoModel {
    pub(crate) fn of(model: &str) -> Option<DemoModel> {
        match model {
            "default" => Some(Self::Streamed),
            "paced" => Some(Self::Paced),
            "instant" => Some(Self::Instant),
            _ => None,
        }
    }
}

/// Whether an answer is the demo speaking of itself, as it does when it has nothing else to say.
pub fn is_introduction(answer: &str) -> bool {
    [Language::Chinese, Language::English]
        .into_iter()
        .any(|language| answer.starts_with(say::introduction(language)))
}

/// The demo's answer. It never fails.
pub(crate) fn answer(
    request: Arc<ChatRequest>,
) -> impl Stream<Item = AttemptEvent> + Send + 'static {
    stream! {
        let (content, tool_calls) = match act::next(&request) {
            Next::Call(call) => (String::new(), vec![call]),
            Next::Say(text) => (text, Vec::new()),
        };
        let pace = DemoModel::of(&request.model).unwrap_or(DemoModel::Streamed);
        let mut first_token_at = None;
        if pace != DemoModel::Instant {
            for word in words(&content) {
                if pace == DemoModel::Paced {
                    sleep(WORD_TIME).await;
                }
                first_token_at.get_or_insert_with(Instant::now);
                yield AttemptEvent::Text(word);
            }
        }
        let calls: Vec<String> =
            tool_calls.iter().map(|call| format!("{} {}", call.tool, call.args)).collect();
        let said = calls.iter().map(String::as_str).chain([content.as_str()]);
        let usage = request.estimated_usage(said, "");
        let finish_reason =
            if tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        yield AttemptEvent::Whole(Box::new(WholeAnswer {
            content,
            tool_calls,
            replay: None,
            cut: None,
            finish_reason,
            usage,
            counted_input: 0,
            first_token_at,
        }));
    }
}

/// Words with the space behind them; Chinese characters one by one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut ended = true;
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if !ended || c.is_whitespace() => word.push(c),
            _ => words.push(c.into()),
        }
        ended = c.is_whitespace() || plan::is_han(c);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_and_nothing_is_lost() {
        let text = "Hi  there, 你好 world\n";
        assert_eq!(words(text), ["Hi  ", "there, ", "你", "好 ", "world\n"]);
        assert_eq!(words(text).concat(), text);
        assert!(words("").is_empty());
    }
}
