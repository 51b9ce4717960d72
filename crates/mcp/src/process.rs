//! The process of a server: its environment, its group, its end. Knows nothing of MCP.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    signal::unix::{self, SignalKind},
    task::JoinHandle,
    time::timeout,
};

use crate::{config::ServerConfig, stderr::StderrTail};

/// After its input is closed, a server has this long to leave by itself.
const LEAVE_GRACE: Duration = Duration::from_secs(2);
/// After SIGTERM it has this long; then SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(2);

/// All that a server gets of our environment. No secret of ours has such a name.
const INHERITED: [&str; 12] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ",
    "TMPDIR", "TERM",
];

/// The part of `environment` that servers may see.
pub(crate) fn inheritable(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    environment
        .into_iter()
        .filter(|(name, _)| INHERITED.iter().any(|inherited| name == inherited))
        .collect()
}

/// A running server, in a process group of its own. Dropped, the whole group is killed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The leader's id is the group's. `None` once the leader is reaped: only until then is it
    /// certain that the number names no other process.
    group: Option<Pid>,
    /// Wakes whenever any child of ours changes.
    children: unix::Signal,
    stderr: JoinHandle<()>,
}

impl Process {
    /// Starts the server. Its standard error goes to `tail`, the rest is handed back.
    pub(crate) fn start(
        server: &str,
        config: &ServerConfig,
        inherited: &BTreeMap<OsString, OsString>,
        tail: &StderrTail,
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let children = unix::signal(SignalKind::child())?;
        let mut command = Command::new(&config.command);
        command
            .args(&config.args)
            .env_clear()
            .envs(inherited)
            .envs(&config.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(folder) = &config.cwd {
            command.current_dir(folder);
        }
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a pipe to the process is missing"));
        };
        let stderr = tokio::spawn(tail.clone().drain(server.to_owned(), stderr));
        Ok((Self { child, group, children, stderr }, stdin, stdout))
    }

    /// Waits until the leader has ended, without reaping it. May be dropped and asked again.
    pub(crate) async fn ended(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Some(leader) = self.group {
            match waitid(WaitId::Pid(leader), options) {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return,
            }
            if self.children.recv().await.is_none() {
                return;
            }
        }
    }

    /// Ends the whole group. The caller has closed the server's input.
    ///
    /// Takes at most the two grace times. A process that left the group (a daemon) is not found.
    pub(crate) async fn stop(mut self) -> Option<ExitStatus> {
        if timeout(LEAVE_GRACE, self.ended()).await.is_err() {
            self.signal(Signal::TERM);
            // Whether it ended or not, what is left of the group is killed next.
            let _ = timeout(TERMINATE_GRACE, self.ended()).await;
        }
        self.signal(Signal::KILL);
        self.group = None;
        let status = self.child.wait().await.ok();
        // The last words; someone who left the group may hold the pipe open.
        if timeout(Duration::from_millis(500), &mut self.stderr).await.is_err() {
            self.stderr.abort();
        }
        status
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::debug!(%error, "signal was not sent");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.stderr.abort();
    }
}
