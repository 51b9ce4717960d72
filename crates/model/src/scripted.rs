//! A model that follows a script, for the tests of code that asks models.
//!
//! Each attempt takes one reply, so a reply that fails is followed by the next one at once. Pauses
//! are gates that the test opens; nothing sleeps.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_stream::try_stream;
use futures::Stream;
use protocol::message::{FinishReason, Usage};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use crate::{
    answer::{Circumstances, PartialAnswer, PartialCall, Stopped},
    attempt::{AttemptEvent, WholeAnswer},
    chat::{ChatRequest, RequestedCall},
    error::ModelError,
    settings::Retry,
};

/// The name of the scripted provider's model.
pub(crate) const MODEL: &str = "script";

pub(crate) const LIMITS: (Retry, Duration) =
    (Retry { max_attempts: 4, backoff: Duration::from_millis(1) }, Duration::from_secs(600));

/// Answers by a script, and keeps the requests.
#[derive(Clone)]
pub struct Scripted {
    reply: Arc<dyn Fn(&ChatRequest) -> Reply + Send + Sync>,
    requests: Arc<watch::Sender<Vec<ChatRequest>>>,
}

impl Scripted {
    /// Answers each attempt by a function of what was asked.
    pub fn new(reply: impl Fn(&ChatRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self { reply: Arc::new(reply), requests: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// Answers the attempts in this order, whichever run asks; refuses further ones.
    pub fn in_order(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::new(move |_| {
            let next = replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.unwrap_or_else(|| {
                Reply::error(ModelError::BadRequest {
                    status: 400,
                    message: "the script has no further reply".into(),
                })
            })
        })
    }

    /// Every attempt so far, in the order of arrival.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests.borrow().clone()
    }

    /// Waits until that many attempts have arrived, and gives them.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ChatRequest> {
        let mut arrivals = self.requests.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = arrivals.wait_for(|requests| requests.len() >= count).await;
        self.requests()
    }

    pub(crate) fn answer(
        &self,
        request: Arc<ChatRequest>,
    ) -> impl Stream<Item = Result<AttemptEvent, ModelError>> + Send + 'static {
        let script = self.clone();
        try_stream! {
            script.requests.send_modify(|requests| requests.push(ChatRequest::clone(&request)));
            let reply = (script.reply)(&request);
            let mut content = String::new();
            let mut first_token_at = None;
            for part in reply.parts {
                match part {
                    ReplyPart::Text(text) => {
                        content.push_str(&text);
                        first_token_at.get_or_insert_with(Instant::now);
                        yield AttemptEvent::Text(text);
                    }
                    ReplyPart::Wait(gate) => gate.pass().await,
                    ReplyPart::Fail(error) => Err(error)?,
                }
            }
            let usage = reply.usage.unwrap_or_else(|| {
                let calls: String = reply.calls.iter().map(|call| format!("{} {}", call.tool, call.args)).collect();
                request.estimated_usage([content.as_str(), calls.as_str()], "")
            });
            let calls = reply.calls.into_iter().map(|call| PartialCall {
                args: call.args.as_str().map_or_else(|| call.args.to_string(), str::to_owned),
                tool: call.tool,
            });
            let answer = PartialAnswer {
                text: content,
                calls: calls.collect(),
                stopped: Some(match reply.finish_reason {
                    None | Some(FinishReason::Stop | FinishReason::ToolCalls) => Stopped::Done,
                    Some(FinishReason::Length) => Stopped::Length,
                    Some(FinishReason::ContentFilter) => Stopped::Filtered("by the script".into()),
                }),
                left_out: reply.left_out,
                ..PartialAnswer::default()
            };
            let judged = answer.judged(Circumstances {
                max_tokens: request.max_tokens,
                may_say_nothing: false,
            });
            if let (Err(_), Some(counted)) = (&judged, reply.usage) {
                yield AttemptEvent::Spent(counted);
            }
            let judged = judged?;
            yield AttemptEvent::Whole(Box::new(WholeAnswer {
                content: judged.content,
                tool_calls: judged.calls,
                replay: reply.replay,
                cut: judged.cut,
                finish_reason: judged.finish_reason,
                usage,
                counted_input: reply.usage.map_or(0, |usage| usage.input_tokens),
                first_token_at,
            }));
        }
    }
}

/// What the script says to one attempt.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    parts: Vec<ReplyPart>,
    calls: Vec<RequestedCall>,
    usage: Option<Usage>,
    replay: Option<Value>,
    finish_reason: Option<FinishReason>,
    left_out: Option<String>,
}

#[derive(Debug, Clone)]
enum ReplyPart {
    Text(String),
    Wait(Gate),
    Fail(ModelError),
}

impl Reply {
    /// A text in one piece.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().chunk(text)
    }

    /// A text in these pieces.
    pub fn chunks(chunks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        chunks.into_iter().fold(Self::default(), Self::chunk)
    }

    /// One tool call, by name and arguments.
    pub fn call(tool: impl Into<String>, args: Value) -> Self {
        Self::default().and_call(tool, args)
    }

    pub fn error(error: ModelError) -> Self {
        Self::default().fail(error)
    }

    /// The answer breaks off behind this text.
    pub fn truncated(text: impl Into<String>) -> Self {
        Self::text(text).fail(ModelError::Truncated)
    }

    pub fn chunk(mut self, text: impl Into<String>) -> Self {
        self.parts.push(ReplyPart::Text(text.into()));
        self
    }

    /// Then waits until the test opens the gate.
    pub fn wait(mut self, gate: &Gate) -> Self {
        self.parts.push(ReplyPart::Wait(gate.clone()));
        self
    }

    pub fn fail(mut self, error: ModelError) -> Self {
        self.parts.push(ReplyPart::Fail(error));
        self
    }

    /// And asks for a tool call; a string as `args` stands for text that is no JSON.
    pub fn and_call(mut self, tool: impl Into<String>, args: Value) -> Self {
        self.calls.push(RequestedCall { tool: tool.into(), args });
        self
    }

    /// With this usage instead of an estimate.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// With blocks to be sent back.
    pub fn with_replay(mut self, blocks: Value) -> Self {
        self.replay = Some(blocks);
        self
    }

    /// With this reason to stop.
    pub fn with_finish_reason(mut self, reason: FinishReason) -> Self {
        self.finish_reason = Some(reason);
        self
    }

    /// And holds something that is not kept, such as `an image`.
    pub fn with_left_out(mut self, what: impl Into<String>) -> Self {
        self.left_out = Some(what.into());
        self
    }
}

/// A place in a reply where the model waits for the test.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct GateState {
    is_open: bool,
    reached: bool,
    abandoned: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(GateState::default())) }
    }

    /// Lets replies pass that wait or come later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    /// Waits until a reply has come to the gate.
    pub async fn reached(&self) {
        self.until(|state| state.reached).await;
    }

    /// Waits until a reply that waited at the gate was dropped: its caller has hung up.
    pub async fn abandoned(&self) {
        self.until(|state| state.abandoned).await;
    }

    async fn pass(&self) {
        let mut watched = OnAbandon { gate: self, has_passed: false };
        self.state.send_modify(|state| state.reached = true);
        self.until(|state| state.is_open).await;
        watched.has_passed = true;
    }

    async fn until(&self, condition: impl Fn(&GateState) -> bool) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.state.subscribe().wait_for(|state| condition(state)).await;
    }
}

struct OnAbandon<'a> {
    gate: &'a Gate,
    has_passed: bool,
}

impl Drop for OnAbandon<'_> {
    fn drop(&mut self) {
        if !self.has_passed {
            self.gate.state.send_modify(|state| state.abandoned = true);
        }
    }
}
