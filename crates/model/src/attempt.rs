//! One attempt at a model over HTTP: a request goes out, an answer comes in whole or fails.

use std::sync::Arc;

use async_stream::try_stream;
use futures::Stream;
use protocol::message::{FinishReason, Message, Usage};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    answer::{Circumstances, Counted, PartialAnswer},
    answer_stream::AnswerStream,
    anthropic,
    chat::{ANSWER_TOOL, AnswerCut, ChatRequest, RequestedCall},
    error::ModelError,
    formats::take_answer,
    http::{send, with_key},
    lessons::Lessons,
    limits::RESPONSE_MAX_BYTES,
    names, openai,
    settings::{Provider, WireFormat},
};

/// What an attempt gives: text as it comes, and then, if all went well, the whole.
#[derive(Debug)]
pub(crate) enum AttemptEvent {
    Text(String),
    /// What the provider counted for an answer that is none. An error follows.
    Spent(Usage),
    /// The whole answer. Nothing follows.
    Whole(Box<WholeAnswer>),
}

/// A whole answer of one attempt.
#[derive(Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) content: String,
    pub(crate) tool_calls: Vec<RequestedCall>,
    pub(crate) replay: Option<Value>,
    pub(crate) cut: Option<AnswerCut>,
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: Usage,
    /// Tokens of the prompt by the provider's own count; 0 where it does not say.
    pub(crate) counted_input: u64,
    pub(crate) first_token_at: Option<Instant>,
}

/// The body of a request, in the provider's wire format and adapted to its lessons.
pub(crate) fn body_of(request: &ChatRequest, provider: &Provider, lessons: &Lessons) -> Value {
    match provider.kind {
        WireFormat::Anthropic => anthropic::body(request, provider, lessons),
        WireFormat::OpenAi | WireFormat::Demo => openai::body(request, provider, lessons),
    }
}

/// Asks once. Dropping the stream closes the connection.
pub(crate) fn attempt(
    client: reqwest::Client,
    provider: Arc<Provider>,
    request: Arc<ChatRequest>,
    body: Value,
    deadline: Instant,
) -> impl Stream<Item = Result<AttemptEvent, ModelError>> + Send {
    try_stream! {
        let path = match provider.kind {
            WireFormat::Anthropic if provider.base_url.ends_with("/v1") => "messages",
            WireFormat::Anthropic => "v1/messages",
            WireFormat::OpenAi | WireFormat::Demo => "chat/completions",
        };
        let post = client.post(format!("{}/{path}", provider.base_url)).json(&body);
        let bound = ("RESPONSE_MAX_BYTES", RESPONSE_MAX_BYTES);
        let mut answer = send(with_key(post, &provider), &provider, deadline, bound).await?;

        let mut stream = AnswerStream::new(provider.kind, provider.schemas);
        let mut first_token_at = None;
        let mut is_end = false;
        while !is_end {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(ModelError::Truncated) if stream.has_stopped() => break,
                Err(error) => Err(error)?,
            };
            let added = stream.feed(&chunk).map_err(|error| without_key(error, &provider))?;
            if added.is_something {
                first_token_at.get_or_insert_with(Instant::now);
            }
            for text in added.texts {
                yield AttemptEvent::Text(text);
            }
            is_end = added.is_end;
        }
        if is_end {
            answer.drain().await;
        }
        let (added, whole) = stream.finish().map_err(|error| without_key(error, &provider))?;
        if added.is_something {
            first_token_at.get_or_insert_with(Instant::now);
        }
        for text in added.texts {
            yield AttemptEvent::Text(text);
        }
        let counted = (whole.usage != Counted::default()).then_some(whole.usage);
        match judged(whole, &provider, &request, &body, first_token_at) {
            Ok(whole) => yield AttemptEvent::Whole(Box::new(whole)),
            Err(error) => {
                if let Some(counted) = counted {
                    yield AttemptEvent::Spent(counted.or_estimated(Usage::default()));
                }
                Err(error)?;
            }
        }
    }
}

/// The error without the provider's key, in case its message repeats it.
fn without_key(error: ModelError, provider: &Provider) -> ModelError {
    match provider.api_key.as_ref().map(ExposeSecret::expose_secret) {
        Some(key) if !key.is_empty() => error.with_words(|words| words.replace(key, "[redacted]")),
        Some(_) | None => error,
    }
}

/// Results of tools stand at the end, whatever the runtime has noted behind them.
fn has_news_of_tools(request: &ChatRequest) -> bool {
    let last = request.messages.iter().rfind(|message| !matches!(message, Message::Note { .. }));
    matches!(last, Some(Message::Tool { .. }))
}

fn judged(
    mut answer: PartialAnswer,
    provider: &Provider,
    request: &ChatRequest,
    body: &Value,
    first_token_at: Option<Instant>,
) -> Result<WholeAnswer, ModelError> {
    let parts = answer.calls.iter().flat_map(|call| [call.tool.as_str(), call.args.as_str()]);
    let estimate = request.estimated_usage(parts.chain([answer.text.as_str()]), &answer.reasoning);
    let usage = answer.usage.or_estimated(estimate);
    let counted_input = answer.usage.input.unwrap_or(0);
    for call in &mut answer.calls {
        call.tool = names::meant(std::mem::take(&mut call.tool), &request.tools);
    }
    if request.tools.iter().any(|tool| tool.name == ANSWER_TOOL) {
        take_answer(&mut answer);
    }
    let replay = answer.replay.take();
    let bound = ["max_tokens", "max_completion_tokens"];
    let bound = bound.into_iter().find_map(|key| body.get(key)?.as_u64());
    let judged = answer.judged(Circumstances {
        max_tokens: bound.and_then(|tokens| u32::try_from(tokens).ok()),
        // Claude may have nothing to add to the results of its tools.
        may_say_nothing: provider.kind == WireFormat::Anthropic && has_news_of_tools(request),
    })?;
    // Calls that are made go back with what the provider attached to them.
    let replay = replay.filter(|_| judged.cut.is_none() || !judged.calls.is_empty());
    Ok(WholeAnswer {
        content: judged.content,
        tool_calls: judged.calls,
        replay,
        cut: judged.cut,
        finish_reason: judged.finish_reason,
        usage,
        counted_input,
        first_token_at,
    })
}
