//! What all handlers share.

use std::{ops::Deref, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use workspaces::quota::Quota;

use crate::{Parts, Settings, gate::Gate, open_streams::OpenStreams};

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) parts: Parts,
    pub(crate) settings: Settings,
    /// Cancelled when the server is to end.
    pub(crate) shutdown: CancellationToken,
    /// What was begun and must be waited for, even if its client is gone.
    pub(crate) tasks: TaskTracker,
    /// Who is let in.
    pub(crate) gate: Gate,
    /// The streams that are open.
    pub(crate) streams: OpenStreams,
    /// How much organisations may keep in their workspaces.
    pub(crate) workspaces: Quota,
}

impl App {
    pub(crate) fn new(parts: Parts, settings: Settings, shutdown: CancellationToken) -> Self {
        let gate = Gate::new(parts.identity.clone(), &settings.tenants);
        let (tasks, streams) = (TaskTracker::new(), OpenStreams::default());
        let bytes_max = settings.tenants.workspace_bytes_per_org;
        let workspaces = Quota::new(parts.workspace_root.clone(), bytes_max, settings.measuring);
        Self(Arc::new(Shared { parts, settings, shutdown, tasks, gate, streams, workspaces }))
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
