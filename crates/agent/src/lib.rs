//! What we do: claim runs and execute them step by step.
//!
//! It meets the server only in the database. It speaks no SQL, knows no HTTP, and asks models and
//! MCP servers only through the crates that own them.

pub mod redactor;
pub mod settings;
pub mod worker;

mod after_run;
mod context;
mod history;
mod recorder;
mod run;
mod tools;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use protocol::name::AgentId;

use crate::{
    redactor::Redactor,
    settings::{AfterRun, AgentSettings},
    tools::Toolbox,
};

/// What a worker works with.
#[derive(Clone)]
pub struct Parts {
    /// The database.
    pub store: store::Store,
    /// The models that runs may ask.
    pub models: model::Models,
    /// What is remembered.
    pub memory: memory::service::MemoryService,
    /// The MCP servers of this process.
    pub mcp: Arc<mcp::servers::Servers>,
    /// What must not be written down.
    pub redactor: Redactor,
    /// The agents that runs may name.
    pub agents: BTreeMap<AgentId, AgentSettings>,
    /// What becomes of completed runs in memory.
    pub after_run: AfterRun,
    /// Below it each scope has its folder.
    pub workspace_root: PathBuf,
    /// Our version, as other nodes see it.
    pub version: &'static str,
}

/// [`Parts`], and what is worked out from them once.
struct Runtime {
    parts: Parts,
    toolbox: Toolbox,
}
