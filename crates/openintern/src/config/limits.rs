//! `[limits]`: what one organisation and one credential may have. It says nothing of what happens
//! beyond: each crate is handed the part that it obeys.

use serde::Deserialize;
use server::TenantLimits;
use store::connect::QueueLimits;

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsTable {
    /// Runs that wait; one more is refused.
    queued_per_org: u32,
    /// Runs that are worked on, over all nodes; more wait.
    running_per_org: u32,
    /// Open streams of a credential on one server.
    streams_per_key: u32,
    /// Open streams on one server.
    streams_per_org: u32,
}

impl Default for LimitsTable {
    fn default() -> Self {
        let QueueLimits { queued_per_org, running_per_org } = QueueLimits::default();
        let TenantLimits { streams_per_key, streams_per_org } = TenantLimits::default();
        Self { queued_per_org, running_per_org, streams_per_key, streams_per_org }
    }
}

impl LimitsTable {
    pub(crate) fn queue(&self) -> QueueLimits {
        let Self { queued_per_org, running_per_org, .. } = *self;
        QueueLimits { queued_per_org, running_per_org }
    }

    pub(crate) fn tenants(&self) -> TenantLimits {
        let Self { streams_per_key, streams_per_org, .. } = *self;
        TenantLimits { streams_per_key, streams_per_org }
    }
}
