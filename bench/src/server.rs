//! The executable as a process, on an embedded PostgreSQL in a folder that is removed afterwards.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// An empty database, and a folder for the data of the servers on it.
pub(crate) struct Machine {
    /// What is measured here.
    pub(crate) executable: PathBuf,
    pub(crate) database: postgres::EmbeddedServer,
    folder: TempDir,
}

impl Machine {
    /// Works on a machine of its own with this executable. It is gone
    /// afterwards: also after an interrupt.
    pub(crate) async fn lend<T>(
        executable: PathBuf,
        work: impl AsyncFnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let machine = Self::start(executable).await?;
        let outcome = tokio::select! {
            outcome = work(&machine) => outcome,
            _ = interrupts.recv() => bailed_out(),
            _ = terminations.recv() => bailed_out(),
        };
        machine.stop().await?;
        outcome
    }

    /// Where a benchmark may write.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where servers keep their data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    async fn start(executable: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("openintern-bench-").tempdir()?;
        open_for_all(folder.path())?;
        let database =
            postgres::start(&postgres::EmbeddedSettings::new(folder.path().join("pg"))).await?;
        Ok(Self { executable: std::path::absolute(executable)?, database, folder })
    }

    async fn stop(self) -> Result<()> {
        Ok(self.database.stop().await?)
    }
}

fn bailed_out<T>() -> Result<T> {
    bail!("interrupted; server and database are stopped")
}

/// A server that listens.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) url: String,
}

impl ServerProcess {
    /// Starts the machine's executable, with these variables besides.
    pub(crate) async fn start(machine: &Machine, variables: &[(&str, String)]) -> Result<Self> {
        let executable = &machine.executable;
        let mut child = Command::new(executable)
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(machine.data_dir())
            .current_dir(machine.folder())
            .env("DATABASE_URL", machine.database.app_url())
            .env("OPENINTERN_MIGRATE_URL", machine.database.owner_url())
            .env("OPENINTERN_MODEL", "demo/instant")
            .env_remove("OPENINTERN_EMBEDDING")
            .envs(variables.iter().cloned())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` starts (hint: `make build`)", executable.display()))?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await?.context("it says where it listens")?;
        let url = first.strip_prefix("listening on ").context(first.clone())?.to_owned();
        Ok(Self { child, url })
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().context("it runs")?.to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    pub(crate) fn rss_mib(&self) -> Result<f64> {
        let pid = self.child.id().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).context("VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kib / 1024.0)
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.child.id().context("it runs")?)
    }
}

/// Processor time that a process has used (`utime` and `stime` of proc(5), in ticks of 10 ms).
fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The same of a process and its children.
pub(crate) fn cpu_of_family(pid: u32) -> Result<Duration> {
    let mut sum = cpu_of(pid)?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        if parent == Some(pid.to_string().as_str()) {
            sum += cpu_of(child).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// The executable that `OPENINTERN` names, or the one that `make build` makes.
pub(crate) fn executable() -> PathBuf {
    std::env::var_os("OPENINTERN")
        .map_or_else(|| workspace().join("target/release/openintern"), PathBuf::from)
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The database runs as another user when we are root.
fn open_for_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?)
}
