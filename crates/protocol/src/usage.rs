//! What operators see of a scope: the usage of its runs, and the queue of its organisation.

use serde::{Deserialize, Serialize};

/// What runs used, by day and model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsageReport {
    /// Newest day first, then by model.
    pub days: Vec<DayUsage>,
}

/// What the runs of one day used of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DayUsage {
    /// The day (UTC) on which the runs were created, `YYYY-MM-DD`.
    #[schema(example = "2026-01-31")]
    pub day: String,
    /// `<provider>/<model>`
    #[schema(example = "openai/gpt-5")]
    pub model: String,
    /// The number of runs.
    pub runs: u64,
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
