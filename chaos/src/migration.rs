//! `openintern migrate`, on a database that the caller chose.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::process::Command;

/// Whom to run, where, and on what.
pub(crate) struct Migration<'a> {
    pub(crate) program: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) url: &'a str,
}

impl Migration<'_> {
    /// Runs it; says whether it succeeded.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<bool> {
        Ok(self.status(arguments, None).await?.success())
    }

    /// Runs it with failpoints; says whether it died at one.
    pub(crate) async fn dies(&self, failpoints: &str) -> Result<bool> {
        let status = self.status(&[], Some(failpoints)).await?;
        Ok(status.signal() == Some(Signal::SIGABRT as i32))
    }

    async fn status(&self, arguments: &[&str], failpoints: Option<&str>) -> Result<ExitStatus> {
        let mut command = Command::new(self.program);
        command
            .arg("migrate")
            .args(arguments)
            .current_dir(self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder)
            .env("DATABASE_URL", self.url)
            .envs(failpoints.map(|points| ("FAILPOINTS", points)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().await.with_context(|| format!("`{}` starts", self.program.display()))
    }
}
