//! Postgres' own lock file, `postmaster.pid`: read, never written.

use std::{fs, path::Path};

/// The content of `postmaster.pid`.
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    pub(crate) is_ready: bool,
    pub(crate) is_stopping: bool,
}

impl PidFile {
    pub(crate) fn read(cluster: &Path) -> Option<Self> {
        let text = fs::read(cluster.join("postmaster.pid")).ok()?;
        let text = String::from_utf8_lossy(&text);
        let pid = text.lines().next()?.trim().parse().ok()?;
        // LOCK_FILE_LINE_PM_STATUS in PostgreSQL's pidfile.h.
        let status = text.lines().nth(7).unwrap_or_default().trim();
        Some(Self { pid, is_ready: status == "ready", is_stopping: status == "stopping" })
    }
}
