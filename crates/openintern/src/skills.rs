//! The Python skills that come with the source, offered by `dev` without being configured.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mcp::config::{ServerConfig, ToolConfig};
use protocol::tool::{Approval, Effect};
use tokio::{process::Command, time::timeout};

/// The skill: a Python package, and the name of its MCP server.
pub(crate) const TEXTKIT: &str = "textkit";
/// Its tools; all of them only read what they are given.
const TEXTKIT_TOOLS: [&str; 4] = ["text_stats", "extract_dates", "date_add", "date_difference"];
/// How long Python may take to say whether it has the MCP SDK.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the skills can be started.
pub(crate) enum Skills {
    /// They can be started, with this configuration.
    Ready(Box<ServerConfig>),
    /// There is the folder, but no Python that could run it.
    NoPython { folder: PathBuf },
    /// No `skills` folder in `start` or above it.
    Absent,
}

/// Looks for the skills in `start` and the folders above it.
pub(crate) async fn find(start: &Path) -> Skills {
    let has_skills = |root: &&Path| root.join("skills").join(TEXTKIT).join("__main__.py").is_file();
    let Some(root) = start.ancestors().find(has_skills) else { return Skills::Absent };
    let folder = root.join("skills");
    for python in [root.join(".venv/bin/python"), PathBuf::from("python3")] {
        if has_sdk(&python).await {
            let mut config = ServerConfig::new(python.to_string_lossy(), ["-m", TEXTKIT]);
            config.cwd = Some(folder);
            config.tools = TEXTKIT_TOOLS
                .map(|tool| {
                    let effect = Some(Effect::ReadOnly);
                    (tool.to_owned(), ToolConfig { effect, approval: Approval::Never })
                })
                .into();
            return Skills::Ready(Box::new(config));
        }
    }
    Skills::NoPython { folder }
}

async fn has_sdk(python: &Path) -> bool {
    let look = Command::new(python)
        .args(["-c", "import importlib.util as u, sys; sys.exit(u.find_spec('mcp') is None)"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    matches!(timeout(LOOK_TIMEOUT, look).await, Ok(Ok(status)) if status.success())
}
