//! An event: an immutable fact about a run, the same JSON wherever it is read.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    id::{CallId, RunId, SpanId},
    memory::{Hit, VectorScan},
    message::{FinishReason, ToolCall, Usage},
    name::{AgentId, SessionKey},
    run::{RunError, RunLimits},
    time::Timestamp,
    tool::{Effect, Outcome},
};

/// The version of the envelope.
pub const ENVELOPE_VERSION: u8 = 1;

/// An event with its envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Version of the envelope: 1.
    pub v: u8,
    /// 1, 2, 3, … within the run, without gaps.
    pub seq: u64,
    /// When it was written.
    pub ts: Timestamp,
    /// The id of the run.
    pub run_id: RunId,
    /// The session of the run.
    pub session_key: SessionKey,
    /// The agent that acted.
    pub agent_id: AgentId,
    /// `step_0001`, …; null on events of the run as a whole.
    pub step_id: Option<String>,
    /// The span this event speaks of.
    pub span_id: SpanId,
    /// The span around it; null for the run's own.
    pub parent_span_id: Option<SpanId>,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
    /// What the redactor found.
    pub redaction: Redaction,
}

/// An [`Event`] whose payload is kept as JSON and passed on as it is.
#[derive(Debug, Clone, Serialize)]
pub struct StoredEvent {
    /// Version of the envelope: 1.
    pub v: u8,
    /// 1, 2, 3, … within the run, without gaps.
    pub seq: u64,
    /// When it was written.
    pub ts: Timestamp,
    /// The id of the run.
    pub run_id: RunId,
    /// The session of the run.
    pub session_key: SessionKey,
    /// The agent that acted.
    pub agent_id: AgentId,
    /// `step_0001`, …; null on events of the run as a whole.
    pub step_id: Option<String>,
    /// The span this event speaks of.
    pub span_id: SpanId,
    /// The span around it; null for the run's own.
    pub parent_span_id: Option<SpanId>,
    /// What happened.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The fields of this type of event.
    pub payload: Box<RawValue>,
    /// What the redactor found.
    pub redaction: Redaction,
}

impl StoredEvent {
    /// No event follows it.
    pub fn is_terminal(&self) -> bool {
        TERMINAL_TYPE_NAMES.contains(&self.type_name.as_str())
    }
}

/// What the redactor found in an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Redaction {
    /// Credentials were seen. Secrets of the installation are masked, and so is anything that looks
    /// like a credential in a tool's result or an error; texts of users and models keep the latter.
    pub contains_secrets: bool,
}

/// What happened: `type` and `payload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", content = "payload")]
pub enum Fact {
    /// The first event of every run that a worker took. It names what the run works with.
    #[serde(rename = "run.started")]
    RunStarted {
        /// The input of the run.
        input: String,
        /// The model that the run asks, `<provider>/<model>`.
        model: String,
        /// The bounds in force.
        limits: RunLimits,
        /// The claim of the worker: how often the run was claimed.
        epoch: u64,
        /// Of a fork: the run that it was made of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent_run_id: Option<RunId>,
        /// Of a fork: the last step that it took over from there; its own follow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forked_from_step: Option<u32>,
    },
    /// A worker, perhaps the same as before, goes on from a checkpoint.
    #[serde(rename = "run.resumed")]
    RunResumed {
        /// The claim of the worker: how often the run was claimed.
        epoch: u64,
        /// The last completed step; 0 for none.
        from_step: u32,
        /// Why it had stopped.
        reason: ResumeReason,
    },
    /// A step has begun.
    #[serde(rename = "step.started")]
    StepStarted {
        /// 1, 2, 3, …
        step: u32,
    },
    /// Memories were searched for the step.
    #[serde(rename = "memory.recalled")]
    MemoryRecalled {
        /// The query.
        query: String,
        /// The memories that were found.
        hits: Vec<Hit>,
        /// How long it took.
        duration_ms: u64,
        /// How vectors took part: with `late` and `failed` the words alone were searched. Absent
        /// where there was nothing to search.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vector_scan: Option<VectorScan>,
    },
    /// Older steps no longer stand in the prompt; a summary does, in their place.
    #[serde(rename = "context.compacted")]
    ContextCompacted {
        /// The newest step that the summary speaks of.
        through_step: u32,
        /// Tokens of the prompt before, estimated.
        tokens_before: u64,
        /// Tokens of the prompt after it, estimated.
        tokens_after: u64,
        /// Who summarised.
        method: CompactionMethod,
    },
    /// The model's whole answer.
    #[serde(rename = "llm.called")]
    LlmCalled {
        /// The provider that answered.
        provider: String,
        /// The provider's name for the model.
        model: String,
        /// The text of the answer.
        content: String,
        /// The calls it asks for.
        tool_calls: Vec<ToolCall>,
        /// Why the model stopped.
        finish_reason: FinishReason,
        /// The tokens that the call used.
        usage: Usage,
        /// What that costs, by the price table.
        cost_usd: f64,
        /// Time to the first token.
        time_to_first_token_ms: u64,
        /// Time to the last.
        duration_ms: u64,
        /// How many attempts the call took.
        attempts: u32,
    },
    /// A tool is about to be called; committed before it runs.
    #[serde(rename = "tool.called")]
    ToolCalled {
        /// The id of the call.
        tool_call_id: CallId,
        /// The name of the tool.
        tool: String,
        /// The arguments of the call.
        #[schema(value_type = Value)]
        args: Value,
        /// Whether the call may be repeated after a crash.
        effect: Effect,
    },
    /// The outcome of a tool call, with an answer or without.
    #[serde(rename = "tool.result")]
    ToolResult {
        /// The id of the call.
        tool_call_id: CallId,
        /// The name of the tool.
        tool: String,
        /// What the model reads.
        #[schema(value_type = Value)]
        result: Value,
        /// Whether the tool failed.
        is_error: bool,
        /// How the call ended.
        outcome: Outcome,
        /// The result was cut to its bound.
        truncated: bool,
        /// How long it took.
        duration_ms: u64,
    },
    /// A step ended; its checkpoint is committed with this event.
    #[serde(rename = "step.completed")]
    StepCompleted {
        /// 1, 2, 3, …
        step: u32,
        /// What the step led to.
        result_type: StepResult,
        /// How long it took.
        duration_ms: u64,
    },
    /// Something a person should know; the run goes on.
    #[serde(rename = "run.warning")]
    RunWarning {
        /// The code to act on.
        code: String,
        /// A sentence for a person.
        message: String,
        /// Of `cache_lost`: what the prompt lost the provider's cache by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<CacheLoss>,
        /// Of `cache_lost`: tokens of the prompt before, which could have come from the cache.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<u64>,
        /// Of `model_switched`: from which model to which, and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<ModelSwitch>,
    },
    /// The run gave its answer. Terminal.
    #[serde(rename = "run.completed")]
    RunCompleted {
        /// The answer of the run.
        output: String,
        /// The answer is not whole: a warning `answer_cut` says what cut it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        output_cut: bool,
        /// The sum of its model calls.
        usage: Usage,
        /// The cost of the run's model calls, in US dollars.
        cost_usd: f64,
        /// From start to end.
        duration_ms: u64,
    },
    /// The run ended without an answer. Terminal.
    #[serde(rename = "run.failed")]
    RunFailed {
        /// Why the run failed.
        error: RunError,
        /// From start to end.
        duration_ms: u64,
    },
    /// The run was cancelled on request. Terminal.
    #[serde(rename = "run.cancelled")]
    RunCancelled {
        /// Who asked for it.
        by: String,
        /// The reason, if one was given.
        reason: Option<String>,
        /// Calls that were stopped.
        stopped: Vec<CallId>,
        /// Calls that may or may not have taken effect.
        unknown: Vec<CallId>,
    },
}

impl Fact {
    /// The name of its type.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run.started",
            Self::RunResumed { .. } => "run.resumed",
            Self::StepStarted { .. } => "step.started",
            Self::MemoryRecalled { .. } => "memory.recalled",
            Self::ContextCompacted { .. } => "context.compacted",
            Self::LlmCalled { .. } => "llm.called",
            Self::ToolCalled { .. } => "tool.called",
            Self::ToolResult { .. } => "tool.result",
            Self::StepCompleted { .. } => "step.completed",
            Self::RunWarning { .. } => "run.warning",
            Self::RunCompleted { .. } => "run.completed",
            Self::RunFailed { .. } => "run.failed",
            Self::RunCancelled { .. } => "run.cancelled",
        }
    }
}

/// The names of all event types.
pub const TYPE_NAMES: [&str; 13] = [
    "run.started",
    "run.resumed",
    "step.started",
    "memory.recalled",
    "context.compacted",
    "llm.called",
    "tool.called",
    "tool.result",
    "step.completed",
    "run.warning",
    "run.completed",
    "run.failed",
    "run.cancelled",
];

/// The names of the event types after which none follows.
pub const TERMINAL_TYPE_NAMES: [&str; 3] = ["run.completed", "run.failed", "run.cancelled"];

/// Why a run had stopped before it was resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResumeReason {
    /// Its worker died or lost its lease.
    WorkerLost,
    /// Its worker handed it back.
    Released,
    /// A person decided.
    Approval,
    /// A run that it waited for ended.
    ChildDone,
}

/// Who summarised older steps of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompactionMethod {
    /// The run's model.
    Model,
    /// The runtime, by the beginnings of calls and results: the model gave no answer.
    Extractive,
}

/// What a prompt lost the provider's cache by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheLoss {
    /// A tool has appeared, gone or changed since the call before.
    ToolsChanged,
    /// Messages before the newest step are not what they were.
    PromptChanged,
    /// Another model is asked than before.
    ModelSwitched,
    /// The prompt only grew, and yet the provider took nothing of it from its cache.
    Provider,
}

/// A run goes on with another model of its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelSwitch {
    /// The model that was asked, or was to be asked, `<provider>/<model>`.
    pub from: String,
    /// The model that is asked from now on.
    pub to: String,
    /// Why the first one gave no answer.
    pub reason: SwitchReason,
}

/// Why a run goes on with another model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchReason {
    /// It failed too often lately, whoever asked it, or has asked for a pause.
    Resting,
    /// Its provider limits the rate.
    RateLimited,
    /// It is overloaded or cannot be reached.
    Unavailable,
    /// It took too long.
    Timeout,
    /// The account has no credit left.
    Quota,
    /// The key is rejected.
    Auth,
    /// The key does not allow this.
    Forbidden,
    /// It declined.
    Refused,
    /// The prompt is too long for it, and the other takes longer ones.
    ContextExceeded,
    /// The provider has no such model.
    NoSuchModel,
    /// What it answered is no answer.
    InvalidAnswer,
}

impl SwitchReason {
    /// As events and metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Quota => "quota",
            Self::Auth => "auth",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::ContextExceeded => "context_exceeded",
            Self::NoSuchModel => "no_such_model",
            Self::InvalidAnswer => "invalid_answer",
        }
    }
}

/// What a step led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// Tools were called; another step follows.
    ToolCalls,
    /// The answer of the run.
    FinalAnswer,
}

/// The name of a step in events: `step_0001`.
pub fn step_id(step: u32) -> String {
    format!("step_{step:04}")
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventPage {
    /// In the order of `seq`.
    pub events: Vec<Event>,
    /// How many events this page has.
    pub total: u64,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// `event: llm.delta`: text of a model's answer as it comes. Provisional until `llm.called`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LlmDelta {
    /// The id of the run.
    pub run_id: RunId,
    /// The id of the step: `step_0001`, …
    pub step_id: String,
    /// 1, 2, 3, … after the event `seq` of the frame's id.
    pub n: u64,
    /// The text to append.
    pub text: String,
}

/// `event: llm.reset`: the text of this step so far is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LlmReset {
    /// The id of the run.
    pub run_id: RunId,
    /// The id of the step: `step_0001`, …
    pub step_id: String,
    /// 1, 2, 3, … after the event `seq` of the frame's id.
    pub n: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_envelope_is_the_contract() {
        let run_id: RunId = "run_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let event = Event {
            v: ENVELOPE_VERSION,
            seq: 2,
            ts: Timestamp::new("2026-02-09T00:00:00.001Z".parse().unwrap()),
            run_id,
            session_key: SessionKey::default(),
            agent_id: AgentId::default(),
            step_id: Some(step_id(1)),
            span_id: SpanId::from_bits(1),
            parent_span_id: Some(SpanId::from_bits(-1)),
            fact: Fact::StepStarted { step: 1 },
            redaction: Redaction::default(),
        };
        let want = json!({
            "v": 1, "seq": 2, "ts": "2026-02-09T00:00:00.001Z",
            "run_id": "run_01h455vb4pex5vsknk084sn02q", "session_key": "s_default",
            "agent_id": "main", "step_id": "step_0001", "span_id": "0000000000000001",
            "parent_span_id": "ffffffffffffffff", "type": "step.started",
            "payload": {"step": 1}, "redaction": {"contains_secrets": false}
        });
        assert_eq!(serde_json::to_value(&event).unwrap(), want);
        assert_eq!(serde_json::from_value::<Event>(want).unwrap(), event);
    }
}
