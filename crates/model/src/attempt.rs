//! One attempt at a model over HTTP: a request goes out, an answer comes in whole or fails.

use std::{collections::VecDeque, sync::Arc};

use async_stream::try_stream;
use futures::Stream;
use protocol::message::{FinishReason, Usage};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    answer::{Increment, PartialAnswer, PartialCall},
    anthropic,
    chat::{ChatRequest, RequestedCall},
    error::ModelError,
    http::{send, with_key},
    limits::RESPONSE_MAX_BYTES,
    openai,
    settings::{Provider, WireFormat},
    sse::{SseDecoder, SseEvent},
    tokens::estimate_usage,
};

/// What an attempt gives: text as it comes, and then, if all went well, the whole.
#[derive(Debug)]
pub(crate) enum AttemptEvent {
    Text(String),
    /// The whole answer. Nothing follows.
    Whole(WholeAnswer),
}

/// A whole answer of one attempt.
#[derive(Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) content: String,
    pub(crate) tool_calls: Vec<RequestedCall>,
    pub(crate) replay: Option<Value>,
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: Usage,
    pub(crate) first_token_at: Option<Instant>,
}

/// Asks once. Dropping the stream closes the connection.
pub(crate) fn attempt(
    client: reqwest::Client,
    provider: Arc<Provider>,
    request: Arc<ChatRequest>,
    deadline: Instant,
) -> impl Stream<Item = Result<AttemptEvent, ModelError>> + Send {
    try_stream! {
        let (mut reader, path, body) = match provider.kind {
            WireFormat::Anthropic => (
                AnswerReader::Anthropic(anthropic::MessagesReader::default()),
                if provider.base_url.ends_with("/v1") { "messages" } else { "v1/messages" },
                anthropic::body(&request),
            ),
            WireFormat::OpenAi | WireFormat::Demo => (
                AnswerReader::OpenAi(openai::ChatCompletionReader::new(&provider)),
                "chat/completions",
                openai::body(&request, &provider),
            ),
        };
        let post = client.post(format!("{}/{path}", provider.base_url)).json(&body);
        let bound = ("RESPONSE_MAX_BYTES", RESPONSE_MAX_BYTES);
        let mut body = send(with_key(post, &provider), &provider, deadline, bound).await?;

        let (mut decoder, mut events) = (SseDecoder::default(), VecDeque::new());
        let mut first_token_at = None;
        let (mut has_more, mut has_events) = (true, false);
        'body: while has_more {
            match body.chunk().await? {
                Some(chunk) => decoder.feed(&chunk, &mut events)?,
                None => {
                    has_more = false;
                    decoder.finish(&mut events)?;
                }
            }
            has_events |= !events.is_empty();
            while let Some(event) = events.pop_front() {
                match reader.read(&event)? {
                    Increment::Nothing => {}
                    Increment::Part => {
                        first_token_at.get_or_insert_with(Instant::now);
                    }
                    Increment::Text(text) => {
                        first_token_at.get_or_insert_with(Instant::now);
                        yield AttemptEvent::Text(text);
                    }
                    Increment::End => {
                        body.drain().await;
                        break 'body;
                    }
                }
            }
        }
        if !has_events {
            Err(ModelError::protocol("the answer is not an event stream: check the base URL"))?;
        }
        yield AttemptEvent::Whole(whole(reader.finish()?, &request, first_token_at)?);
    }
}

/// The two wire formats.
enum AnswerReader {
    OpenAi(openai::ChatCompletionReader),
    Anthropic(anthropic::MessagesReader),
}

impl AnswerReader {
    fn read(&mut self, event: &SseEvent) -> Result<Increment, ModelError> {
        match self {
            Self::OpenAi(reader) => reader.read(event),
            Self::Anthropic(reader) => reader.read(event),
        }
    }

    fn finish(self) -> Result<PartialAnswer, ModelError> {
        match self {
            Self::OpenAi(reader) => reader.finish(),
            Self::Anthropic(reader) => reader.finish(),
        }
    }
}

fn whole(
    answer: PartialAnswer,
    request: &ChatRequest,
    first_token_at: Option<Instant>,
) -> Result<WholeAnswer, ModelError> {
    let finish_reason = answer.finish_reason().ok_or(ModelError::Truncated)?;
    let usage = answer.usage.filter(|usage| usage.total_tokens > 0).unwrap_or_else(|| {
        let parts = answer.calls.iter().flat_map(|call| [call.tool.as_str(), call.args.as_str()]);
        estimate_usage(request, parts.chain([answer.text.as_str()]))
    });
    Ok(WholeAnswer {
        content: answer.text,
        tool_calls: answer.calls.into_iter().map(PartialCall::into_requested).collect(),
        replay: answer.replay,
        finish_reason,
        usage,
        first_token_at,
    })
}
