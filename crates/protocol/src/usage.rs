//! What operators see of a scope: the usage of its runs, and the queue of its organisation.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What runs used, by time and what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsageReport {
    /// Newest first, then by name.
    pub rows: Vec<UsageRow>,
    /// There are more rows, older ones, than an answer has: ask for a shorter time.
    pub is_cut: bool,
}

/// What the runs of one hour or day used, of one model, agent, user or project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsageRow {
    /// When the hour or day (UTC) in which the runs were created began.
    pub at: Timestamp,
    /// The model (`<provider>/<model>`), agent, user or project; null for no project and no model.
    #[schema(example = "openai/gpt-5")]
    pub name: Option<String>,
    /// The number of runs.
    pub runs: u64,
    /// Of these, the number that failed.
    pub failed: u64,
    /// Tokens of their prompts.
    pub input_tokens: u64,
    /// Tokens of their answers.
    pub output_tokens: u64,
    /// The part of `output_tokens` that is reasoning, which is not in the answers.
    pub reasoning_tokens: u64,
    /// The part of `input_tokens` that the provider had cached.
    pub cached_tokens: u64,
    /// `cached_tokens` by `input_tokens`, 0 to 1; null where there was no prompt.
    #[schema(minimum = 0, maximum = 1)]
    pub cached_share: Option<f64>,
    /// What they cost, in US dollars.
    pub cost_usd: f64,
    /// Half of those that have ended took no longer than this, in milliseconds.
    pub duration_p50_ms: Option<u64>,
    /// 95 of 100 that have ended took no longer than this, in milliseconds.
    pub duration_p95_ms: Option<u64>,
}

/// How long the time of a row of usage is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsagePer {
    /// An hour.
    Hour,
    /// A day, UTC.
    #[default]
    Day,
}

/// A process that works on the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeInfo {
    /// Names it while it lives.
    #[schema(example = "01890a5d-ac96-774b-bcce-b302099a8057")]
    pub node_id: String,
    /// The version of its executable.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last gave a sign of life: every few seconds.
    pub seen_at: Timestamp,
    /// It was seen lately enough to be counted on.
    pub is_alive: bool,
    /// Most runs that it works on at once.
    pub concurrency: u32,
    /// Runs that it works on.
    pub running: u32,
    /// How many tools its runs have.
    pub tool_count: u32,
}

/// The nodes of the database, those that started last first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeList {
    /// At most 500.
    pub nodes: Vec<NodeInfo>,
}

/// The queue of one organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueueStanding {
    /// Runs that a worker may take.
    pub ready: u64,
    /// Runs that wait for another of their session.
    pub in_line: u64,
    /// Runs that a worker executes.
    pub running: u64,
    /// How long the oldest ready run has waited, in milliseconds; null if none is ready.
    pub oldest_wait_ms: Option<u64>,
}
