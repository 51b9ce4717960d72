//! The status of a server, for operators.

use protocol::tool::LeftOutTool;
use serde::Serialize;

/// The state of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Not yet ready for the first time.
    Starting,
    /// Its tools can be called.
    Running,
    /// It crashed and is started again; its tools stay listed, and calls wait for it a little.
    Restarting,
    /// It crashed too often: its tools are hidden, and it is tried again later.
    Suspended,
    /// It was stopped, or may not be started.
    Stopped,
}

/// One server, as `doctor` and `tools logs` show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Its name in the configuration.
    pub name: String,
    pub state: ServerState,
    /// Full names of the tools it offers.
    pub tools: Vec<String>,
    /// Which of its tools cannot be used.
    pub left_out: Vec<LeftOutTool>,
    /// Warnings about the configuration.
    pub warnings: Vec<String>,
    /// How often it was started.
    pub starts: u32,
    /// The last error, even if it runs again.
    pub last_error: Option<String>,
    /// The end of what it wrote to standard error.
    pub stderr_tail: String,
}
