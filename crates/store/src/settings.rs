//! How to reach the database, and the bounds and periods that hold there. Where they come from
//! (files, the environment) is not known here.

/// How to reach the database, and the limits that apply there.
#[derive(Clone)]
pub struct StoreSettings {
    /// A `postgres://` URL, also of a PgBouncer.
    pub url: String,
    /// Past the pooler, where `url` is one: each transaction then makes the settings of a session.
    pub direct_url: Option<String>,
    /// Most connections of the pool.
    pub max_connections: u32,
    /// How many runs an organisation may have in the queue and at work.
    pub limits: QueueLimits,
    /// What an organisation may use in a day.
    pub budget: DailyBudget,
    /// How long things are kept.
    pub retention: Retention,
}

impl StoreSettings {
    /// A database without a pooler, and the usual bounds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            direct_url: None,
            max_connections: 8,
            limits: QueueLimits::default(),
            budget: DailyBudget::default(),
            retention: Retention::default(),
        }
    }
}

/// Bounds of one organisation's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Runs that wait; one more is refused.
    pub queued_per_org: u32,
    /// Runs that are worked on, over all nodes; more wait. Without it, all that others leave, but for
    /// what is kept free (`queue`).
    pub running_per_org: Option<u32>,
    /// Workers that may be lost with a run since its last completed step, before it is given up.
    pub attempts_per_run: u32,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { queued_per_org: 20_000, running_per_org: None, attempts_per_run: 5 }
    }
}

/// Bounds of one organisation for a day; none until they are set.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DailyBudget {
    /// Tokens, of prompts and answers together.
    pub tokens: Option<u64>,
    pub cost_usd: Option<f64>,
}

impl DailyBudget {
    /// Whether anything is bounded.
    pub fn is_set(&self) -> bool {
        self.tokens.is_some() || self.cost_usd.is_some()
    }
}

/// How long things are kept: the `[retention]` table. Days count from when a run was created, and
/// only for runs that have ended; a period that is absent is for ever.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Token deltas, after their `llm.called`; in seconds.
    pub deltas_s: u64,
    /// Events. The run itself, its input and its output stay.
    pub events_days: Option<u32>,
    /// What a run is resumed or forked from: checkpoints, messages, the effect ledger.
    pub checkpoints_days: Option<u32>,
    /// The run and all that belongs to it.
    pub runs_days: Option<u32>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { deltas_s: 60, events_days: None, checkpoints_days: None, runs_days: None }
    }
}
