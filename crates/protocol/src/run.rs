//! A run: one request to the agent, from `pending` to a terminal status.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::FieldError,
    id::RunId,
    limits::{INPUT_MAX_CHARS, METADATA_MAX_BYTES},
    message::Usage,
    model_names::{MODELS_MAX, ModelNames},
    name::{AgentId, SessionKey},
    output::{OutputJson, ResponseFormat},
    time::{Timestamp, Zone},
};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It waits in the queue.
    Pending,
    /// A worker holds its lease.
    Running,
    /// It waits for a person.
    Waiting,
    /// It gave its answer.
    Completed,
    /// It ended without one.
    Failed,
    /// It was cancelled on request.
    Cancelled,
}

impl RunStatus {
    /// The name, as the API and the database write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether no other status can follow it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for RunStatus {
    type Err = UnknownRunStatus;

    fn from_str(text: &str) -> Result<Self, UnknownRunStatus> {
        [
            Self::Pending,
            Self::Running,
            Self::Waiting,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or(UnknownRunStatus)
    }
}

/// The text is no run status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`status` must be one of `pending running waiting completed failed cancelled`")]
pub struct UnknownRunStatus;

/// The body of `POST /api/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// The task: 1 to 262,144 characters.
    #[schema(min_length = 1, max_length = 262144, pattern = "\\S", example = "帮我总结今天的工作")]
    pub input: String,
    /// The conversation it belongs to.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(value_type = Option<SessionKey>, default = "s_default")]
    pub session_key: SessionKey,
    /// The agent that does it.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(value_type = Option<AgentId>, default = "main")]
    pub agent_id: AgentId,
    /// The model to ask, where it differs from the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_config: Option<LlmConfig>,
    /// Yours: kept and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub metadata: Option<Map<String, Value>>,
    /// Bounds of this run; they may only lower the configured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RunLimits>,
    /// The time zone that says what day it is for this run; the agent's or the server's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
    /// The JSON Schema that the answer must match; the agent's when absent. References begin with
    /// `#/`; at most 32,768 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        value_type = Option<Object>,
        additional_properties = true,
        example = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    )]
    pub response_format: Option<ResponseFormat>,
    /// What to do if the session has a run that has not ended.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "IfBusy::is_default"
    )]
    #[schema(value_type = Option<IfBusy>, default = "queue")]
    pub if_busy: IfBusy,
}

/// What happens to a new run whose session has one that has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfBusy {
    /// It waits for those before it.
    #[default]
    Queue,
    /// It is refused with 409.
    Reject,
    /// Those before it are cancelled; it starts when the last of them has stopped.
    Interrupt,
}

impl IfBusy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl CreateRun {
    /// A run of the default agent in the default session.
    pub fn new(input: impl Into<String>) -> Self {
        Self {
            input: input.into(),
            session_key: SessionKey::default(),
            agent_id: AgentId::default(),
            llm_config: None,
            metadata: None,
            limits: None,
            timezone: None,
            response_format: None,
            if_busy: IfBusy::default(),
        }
    }

    /// What the types alone cannot say: every field at fault.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        check_input(&self.input, &mut faults);
        if let Some(metadata) = &self.metadata
            && serde_json::to_string(metadata).is_ok_and(|text| text.len() > METADATA_MAX_BYTES)
        {
            faults.push(FieldError::new(
                "/metadata",
                format!("must be at most {METADATA_MAX_BYTES} bytes of JSON"),
            ));
        }
        if let Some(limits) = &self.limits {
            limits.check(&mut faults);
        }
        if let Some(llm_config) = &self.llm_config {
            llm_config.check(&mut faults);
        }
        if let Some(format) = &self.response_format {
            format.check("/response_format", &mut faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// The body of `POST /api/runs/{run_id}/fork`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRun {
    /// The last step to take over, 0 for none: the new run goes on behind it.
    #[schema(minimum = 0, maximum = 2147483647, example = 0)]
    pub from_step: u32,
    /// With `from_step` 0 the task in place of the parent's; otherwise what is said behind the steps
    /// that are taken over, and needed where the last of them gave the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 262144, pattern = "\\S", example = "请再详细一些")]
    pub input: Option<String>,
    /// The agent that goes on; the parent's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The model to ask; the parent's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_config: Option<LlmConfig>,
    /// The JSON Schema that the answer must match; that of the parent, or of the parent's agent, when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub response_format: Option<ResponseFormat>,
}

impl ForkRun {
    /// A fork that takes over the steps up to `from_step` and changes nothing.
    pub fn at(from_step: u32) -> Self {
        Self { from_step, input: None, agent_id: None, llm_config: None, response_format: None }
    }

    /// What the types alone cannot say: every field at fault.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Vec::new();
        if i32::try_from(self.from_step).is_err() {
            faults.push(FieldError::new("/from_step", "must be at most 2147483647"));
        }
        if let Some(input) = &self.input {
            check_input(input, &mut faults);
        }
        if let Some(llm_config) = &self.llm_config {
            llm_config.check(&mut faults);
        }
        if let Some(format) = &self.response_format {
            format.check("/response_format", &mut faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

fn check_input(input: &str, faults: &mut Vec<FieldError>) {
    let chars = input.chars().take(INPUT_MAX_CHARS + 1).count();
    if input.trim().is_empty() {
        faults.push(FieldError::new("/input", "must not be empty"));
    } else if chars > INPUT_MAX_CHARS {
        faults.push(FieldError::new(
            "/input",
            format!("must be at most {INPUT_MAX_CHARS} characters"),
        ));
    }
}

/// The model to ask, where it differs from the agent's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmConfig {
    /// The provider's name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, example = "demo")]
    pub provider: Option<String>,
    /// The provider's name for the model, or those of several, in the order in which they are asked:
    /// the next one where the one before cannot answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "default")]
    pub model: Option<ModelNames>,
    /// Sampling temperature, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Most tokens of one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_tokens: Option<u32>,
}

impl LlmConfig {
    fn check(&self, faults: &mut Vec<FieldError>) {
        let is_name = |text: &String| (1..=256).contains(&text.chars().count());
        if self.provider.as_ref().is_some_and(|text| !is_name(text)) {
            faults.push(FieldError::new("/llm_config/provider", "must be 1 to 256 characters"));
        }
        if let Some(names) = &self.model {
            let names = names.as_slice();
            if !(1..=MODELS_MAX).contains(&names.len()) {
                let must = format!("must be a model, or a list of 1 to {MODELS_MAX}");
                faults.push(FieldError::new("/llm_config/model", must));
            }
            if !names.iter().all(is_name) {
                faults.push(FieldError::new("/llm_config/model", "must be 1 to 256 characters"));
            }
        }
        if self.temperature.is_some_and(|degrees| !(0.0..=2.0).contains(&degrees)) {
            faults.push(FieldError::new("/llm_config/temperature", "must be 0 to 2"));
        }
        if self.max_tokens == Some(0) {
            faults.push(FieldError::new("/llm_config/max_tokens", "must be at least 1"));
        }
    }
}

/// Bounds of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunLimits {
    /// Most steps; then the run fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_steps: Option<u32>,
    /// Most tokens, input and output together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_tokens: Option<u64>,
    /// Most money, in US dollars, by the price table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000000000)]
    pub max_cost_usd: Option<f64>,
    /// Most seconds from the first start to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_wall_s: Option<u64>,
}

impl RunLimits {
    /// The stricter of the two, bound by bound.
    pub fn lowered_by(self, asked: RunLimits) -> RunLimits {
        fn lower<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, None) => a,
                (None, b) => b,
            }
        }
        RunLimits {
            max_steps: lower(self.max_steps, asked.max_steps),
            max_tokens: lower(self.max_tokens, asked.max_tokens),
            max_cost_usd: lower(self.max_cost_usd, asked.max_cost_usd),
            max_wall_s: lower(self.max_wall_s, asked.max_wall_s),
        }
    }

    fn check(&self, faults: &mut Vec<FieldError>) {
        for (field, is_zero) in [
            ("max_steps", self.max_steps == Some(0)),
            ("max_tokens", self.max_tokens == Some(0)),
            ("max_wall_s", self.max_wall_s == Some(0)),
        ] {
            if is_zero {
                faults.push(FieldError::new(format!("/limits/{field}"), "must be at least 1"));
            }
        }
        if self.max_cost_usd.is_some_and(|usd| !(0.0..=1e9).contains(&usd)) {
            faults.push(FieldError::new("/limits/max_cost_usd", "must be 0 to 1000000000"));
        }
    }
}

/// The answer to `POST /api/runs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunCreated {
    /// The id of the new run.
    pub run_id: RunId,
    /// Always `pending`.
    pub status: RunStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// The answer to `POST /api/runs/{run_id}/fork`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunForked {
    /// The id of the new run.
    pub run_id: RunId,
    /// Always `pending`.
    pub status: RunStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The run that it was forked from.
    pub parent_run_id: RunId,
    /// The last step that it took over from there; 0 for none.
    pub forked_from_step: u32,
}

/// The working state of a run after one of its steps: what it can be resumed and forked from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Checkpoint {
    /// The step that was completed with it.
    pub step: u32,
    /// The agent that took the step.
    pub agent_id: AgentId,
    /// How many messages the conversation had then.
    pub message_count: u32,
    /// Whether a fork took it over from its parent.
    pub is_taken_over: bool,
    /// The agent's state besides the conversation. Its keys may change.
    #[schema(value_type = Object, additional_properties = true)]
    pub state: Value,
    /// When the step was completed.
    pub created_at: Timestamp,
}

/// A page of checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CheckpointPage {
    /// In the order of their steps.
    pub checkpoints: Vec<Checkpoint>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// The answer to `POST /api/runs/{run_id}/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunCancelled {
    /// The id of the run.
    pub run_id: RunId,
    /// `cancelled`, or `running` until its worker has stopped.
    pub status: RunStatus,
    /// Always true: the request was recorded.
    pub cancel_requested: bool,
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Run {
    /// The id of the run.
    pub run_id: RunId,
    /// Its status.
    pub status: RunStatus,
    /// The conversation it belongs to.
    pub session_key: SessionKey,
    /// The agent that does it.
    pub agent_id: AgentId,
    /// The task; in lists its first 4 KiB.
    pub input: String,
    /// How long the whole task is.
    pub input_bytes: u64,
    /// The answer, once completed: its first 1 MiB, in lists its first 4 KiB.
    pub output: Option<String>,
    /// How long the whole answer is.
    pub output_bytes: Option<u64>,
    /// The answer as JSON, where a schema was asked for and `output` has all of it; null otherwise.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub output_json: Option<OutputJson>,
    /// Whether the answer was cut: a warning `answer_cut` says why.
    pub output_cut: bool,
    /// Why it failed; null otherwise.
    pub error: Option<RunError>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended; null before.
    pub ended_at: Option<Timestamp>,
    /// Milliseconds from start to end.
    pub duration_ms: Option<u64>,
    /// Number of completed steps, with those that a fork took over.
    pub step_count: u32,
    /// Number of tool calls.
    pub tool_call_count: u32,
    /// Events written; the `seq` of the last one.
    pub event_count: u64,
    /// The sum of its model calls.
    pub usage: Usage,
    /// What its model calls cost, by the price table.
    pub cost_usd: f64,
    /// The model it asks, `<provider>/<model>`, once started.
    pub model: Option<String>,
    /// The time zone that was asked for.
    pub timezone: Option<Zone>,
    /// The JSON Schema that it was asked for; absent where it was asked for none, then that of its
    /// agent counts, and in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub response_format: Option<ResponseFormat>,
    /// The run that it was forked from; null for others.
    pub parent_run_id: Option<RunId>,
    /// The last step that it took over from there, 0 for none; null where it is no fork.
    pub forked_from_step: Option<u32>,
    /// Your own data, given back unchanged.
    #[schema(value_type = Object, additional_properties = true)]
    pub metadata: Map<String, Value>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunError {
    /// The code to act on.
    pub code: RunErrorCode,
    /// A sentence for a person.
    pub message: String,
}

/// Why a run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunErrorCode {
    /// The model did not answer, however often it was asked.
    ModelError,
    /// The model's provider rejects the credentials.
    ModelAuth,
    /// The model ended its answer without saying anything, however often it was asked.
    EmptyAnswer,
    /// The model, or its provider's moderation, declines the task.
    Refused,
    /// The answer does not match `response_format`, however often the model was told why.
    OutputInvalid,
    /// `max_steps` is reached.
    StepLimit,
    /// `max_tokens` is reached.
    TokenLimit,
    /// `max_cost_usd` is reached.
    CostLimit,
    /// `max_wall_s` is reached.
    TimeLimit,
    /// `run_bytes` is reached.
    SizeLimit,
    /// The model repeats the same calls without progress.
    NoProgress,
    /// Several workers in a row died while they executed this run.
    MaxAttempts,
    /// A defect of the server.
    Internal,
}

/// A page of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunPage {
    /// Newest first.
    pub runs: Vec<Run>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// What runs come to together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunSummary {
    /// How many there are.
    pub runs: u64,
    /// How many stand where; those of none are left out.
    pub by_status: Vec<StatusCount>,
    /// The sum of their model calls.
    pub usage: Usage,
    /// What those cost, by the price table.
    pub cost_usd: f64,
    /// Half of those that have ended took no longer than this, in milliseconds.
    pub duration_p50_ms: Option<u64>,
    /// 95 of 100 that have ended took no longer than this, in milliseconds.
    pub duration_p95_ms: Option<u64>,
    /// Older runs were not looked at, because there are too many; null if all were.
    pub since: Option<Timestamp>,
}

/// How many runs have a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatusCount {
    /// The status.
    pub status: RunStatus,
    /// The number of runs.
    pub runs: u64,
}

/// `event: run` of the stream of a scope: a run that was accepted, has begun or has ended, as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunNews {
    /// The id of the run.
    pub run_id: RunId,
    /// Its status.
    pub status: RunStatus,
    /// The conversation it belongs to.
    pub session_key: SessionKey,
    /// The agent that does it.
    pub agent_id: AgentId,
    /// The beginning of its task, at most 200 characters.
    pub input: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended; null before.
    pub ended_at: Option<Timestamp>,
    /// Milliseconds from start to end.
    pub duration_ms: Option<u64>,
    /// Number of completed steps.
    pub step_count: u32,
    /// Number of tool calls.
    pub tool_call_count: u32,
    /// The sum of its model calls.
    pub usage: Usage,
    /// What its model calls cost, by the price table.
    pub cost_usd: f64,
    /// The model it asks, `<provider>/<model>`, once started.
    pub model: Option<String>,
    /// The run that it was forked from; null for others.
    pub parent_run_id: Option<RunId>,
    /// The last of its times.
    pub changed_at: Timestamp,
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Session {
    /// The name, as requests use it.
    pub session_key: SessionKey,
    /// How many runs it has.
    pub run_count: u64,
    /// The id of its newest run.
    pub last_run_id: RunId,
    /// The status of that run.
    pub last_status: RunStatus,
    /// The beginning of that run's task, at most 200 characters.
    pub last_input: String,
    /// When that run was accepted.
    pub last_run_at: Timestamp,
}

/// A page of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionPage {
    /// Most recently used first.
    pub sessions: Vec<Session>,
    /// Pass it as `cursor` to read on; null at the end.
    pub next_cursor: Option<String>,
}

/// An agent that runs can use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentInfo {
    /// The name, as requests use it.
    pub agent_id: AgentId,
    /// What it is for.
    pub description: String,
    /// The model it asks first, `<provider>/<model>`.
    pub model: String,
    /// All models that it may ask, in their order: the next one where the one before cannot answer.
    pub models: Vec<String>,
    /// The bounds of its runs.
    pub limits: RunLimits,
    /// The JSON Schema that its answers match, unless a run asks for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub response_format: Option<ResponseFormat>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_body_is_understood_and_the_unknown_refused() {
        let body: CreateRun =
            serde_json::from_str(r#"{"input":"你好","session_key":null}"#).unwrap();
        assert_eq!(body, CreateRun::new("你好"));
        assert!(serde_json::from_str::<CreateRun>(r#"{"input":"a","colour":1}"#).is_err());
        assert!(
            serde_json::from_str::<CreateRun>(r#"{"input":"a","session_key":"a\nb"}"#).is_err()
        );
    }

    #[test]
    fn faults_name_their_fields() {
        let body: CreateRun = serde_json::from_str(
            r#"{"input":"  ","limits":{"max_steps":0},"llm_config":{"temperature":3,"model":""}}"#,
        )
        .unwrap();
        let fields: Vec<_> = body.check().unwrap_err().into_iter().map(|f| f.field).collect();
        assert_eq!(
            fields,
            ["/input", "/limits/max_steps", "/llm_config/model", "/llm_config/temperature"]
        );
        assert!(CreateRun::new("字".repeat(INPUT_MAX_CHARS)).check().is_ok());
        assert!(CreateRun::new("字".repeat(INPUT_MAX_CHARS + 1)).check().is_err());
    }

    #[test]
    fn limits_only_lower() {
        let ours = RunLimits { max_steps: Some(50), max_wall_s: Some(1800), ..Default::default() };
        let asked = RunLimits {
            max_steps: Some(80),
            max_wall_s: Some(5),
            max_tokens: Some(9),
            ..Default::default()
        };
        let both = ours.lowered_by(asked);
        assert_eq!(
            (both.max_steps, both.max_wall_s, both.max_tokens),
            (Some(50), Some(5), Some(9))
        );
    }
}
