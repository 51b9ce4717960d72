//! The dependencies of a worker: the database, models, memory and tools that it is given, and what
//! is derived from them once.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use protocol::{name::AgentId, time::Zone};

use crate::{
    gate::ModelGate,
    redactor::Redactor,
    settings::{AfterRun, AgentSettings, RunSizeLimits},
    tools::Toolbox,
};

/// What a worker works with.
#[derive(Clone)]
pub struct WorkerParts {
    pub store: store::Store,
    pub models: model::models::Models,
    pub memory: memory::service::MemoryService,
    /// The MCP servers of this process.
    pub mcp: Arc<mcp::servers::Servers>,
    /// Masks credentials before anything is written.
    pub redactor: Redactor,
    /// The agents that runs may name.
    pub agents: BTreeMap<AgentId, AgentSettings>,
    /// How memories are made of completed runs.
    pub after_run: AfterRun,
    /// How large a run may become.
    pub size_limits: RunSizeLimits,
    /// Whether the process has memory for another run.
    pub has_memory: fn() -> bool,
    /// Says what day it is for runs and agents that name no time zone.
    pub zone: Zone,
    /// The folder that holds the workspaces of all scopes.
    pub workspace_root: PathBuf,
    /// The version of this executable, as other nodes see it.
    pub version: &'static str,
}

/// [`WorkerParts`], and what is made of them.
pub(crate) struct Runtime {
    pub(crate) parts: WorkerParts,
    pub(crate) toolbox: Toolbox,
    pub(crate) gate: ModelGate,
}
