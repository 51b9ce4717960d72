//! `[limits]`: the limits of one organisation and one credential. They are enforced elsewhere: each
//! crate is handed the part that it enforces.

use std::num::NonZeroU32;

use agent::settings::RunSizeLimits;
use serde::Deserialize;
use server::{rate_limit::Rate, settings::TenantLimits};
use store::settings::{DailyBudget, QueueLimits};

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsTable {
    /// Runs that wait; one more is refused.
    queued_per_org: u32,
    /// Runs that are worked on, over all nodes; more wait.
    running_per_org: Option<u32>,
    /// Bytes of all messages, events and results of a run.
    run_bytes: u64,
    /// Bytes of the results of one step of a run together.
    step_results_bytes: usize,
    /// Open streams of a credential on one server.
    streams_per_key: u32,
    /// Open streams on one server.
    streams_per_org: u32,
    /// Requests of a credential on one server, in the long run.
    requests_per_s_per_key: NonZeroU32,
    /// Requests of a credential on one server at once, after a rest.
    requests_burst_per_key: NonZeroU32,
    /// Bad credentials from one address at one server, in the long run.
    bad_credentials_per_s_per_address: NonZeroU32,
    /// Bad credentials from one address at one server, at once.
    bad_credentials_burst_per_address: NonZeroU32,
    /// Bytes in all workspaces together, on the disk of a server; with more, new runs are refused.
    workspace_bytes_per_org: u64,
    /// Tokens of a day (UTC), of prompts and answers together.
    tokens_per_org_per_day: Option<u64>,
    /// US dollars of a day (UTC).
    cost_usd_per_org_per_day: Option<f64>,
}

impl Default for LimitsTable {
    fn default() -> Self {
        let QueueLimits { queued_per_org, running_per_org, .. } = QueueLimits::default();
        let RunSizeLimits { run_bytes, step_results_bytes } = RunSizeLimits::default();
        let tenants = TenantLimits::default();
        Self {
            queued_per_org,
            running_per_org,
            run_bytes,
            step_results_bytes,
            streams_per_key: tenants.streams_per_key,
            streams_per_org: tenants.streams_per_org,
            requests_per_s_per_key: tenants.requests_per_key.per_s,
            requests_burst_per_key: tenants.requests_per_key.burst,
            bad_credentials_per_s_per_address: tenants.bad_credentials_per_address.per_s,
            bad_credentials_burst_per_address: tenants.bad_credentials_per_address.burst,
            workspace_bytes_per_org: tenants.workspace_bytes_per_org,
            tokens_per_org_per_day: None,
            cost_usd_per_org_per_day: None,
        }
    }
}

impl LimitsTable {
    pub(crate) fn queue(&self, attempts_per_run: u32) -> QueueLimits {
        let Self { queued_per_org, running_per_org, .. } = *self;
        QueueLimits { queued_per_org, running_per_org, attempts_per_run }
    }

    pub(crate) fn run_size(&self) -> RunSizeLimits {
        let Self { run_bytes, step_results_bytes, .. } = *self;
        RunSizeLimits { run_bytes, step_results_bytes }
    }

    pub(crate) fn budget(&self) -> DailyBudget {
        DailyBudget { tokens: self.tokens_per_org_per_day, cost_usd: self.cost_usd_per_org_per_day }
    }

    pub(crate) fn tenants(&self) -> TenantLimits {
        TenantLimits {
            streams_per_key: self.streams_per_key,
            streams_per_org: self.streams_per_org,
            requests_per_key: Rate {
                per_s: self.requests_per_s_per_key,
                burst: self.requests_burst_per_key,
            },
            bad_credentials_per_address: Rate {
                per_s: self.bad_credentials_per_s_per_address,
                burst: self.bad_credentials_burst_per_address,
            },
            workspace_bytes_per_org: self.workspace_bytes_per_org,
        }
    }
}
