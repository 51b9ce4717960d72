//! The process of a server: environment, pipes, and how it ends. Knows nothing of MCP.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    config::ServerConfig,
    reaper::{NO_SUCH_PROGRAM, NOT_EXECUTABLE, TERMINATE_GRACE},
    stderr::StderrTail,
};

/// After its input is closed, a server has this long to leave by itself.
const LEAVE_GRACE: Duration = Duration::from_secs(2);
/// How long reading its last output may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long the reaper may take beyond what it gives the server.
const REAPER_MARGIN: Duration = Duration::from_secs(1);

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

/// What is executed in front of a server's command line.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// A program that executes [`crate::reaper::run`] when it is given these arguments.
    pub fn reaper(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        Self { program: program.into(), arguments: arguments.iter().map(OsString::from).collect() }
    }

    /// For tests whose servers exit by themselves: nobody ends those that do not.
    pub fn plain() -> Self {
        Self::reaper("env", &[])
    }
}

/// A running server behind its reaper. Dropped, it is ended by the reaper in the background.
#[derive(Debug)]
pub(crate) struct Process {
    reaper: Child,
    stderr: JoinHandle<()>,
}

impl Process {
    /// Starts the server. Its standard error goes to `tail`, the rest is handed back.
    pub(crate) fn start(
        server: &str,
        config: &ServerConfig,
        launcher: &Launcher,
        inherited: &BTreeMap<OsString, OsString>,
        tail: &StderrTail,
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut command = Command::new(&launcher.program);
        command
            .args(&launcher.arguments)
            .arg(&config.command)
            .args(&config.args)
            .env_clear()
            .envs(inherited)
            .envs(&config.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0); // Away from our Ctrl-C.
        if let Some(folder) = &config.cwd {
            command.current_dir(folder);
        }
        let mut reaper = command.spawn()?;
        let pipes = (reaper.stdin.take(), reaper.stdout.take(), reaper.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a pipe to the process is missing"));
        };
        let stderr = tokio::spawn(tail.clone().drain(server.to_owned(), stderr));
        Ok((Self { reaper, stderr }, stdin, stdout))
    }

    /// Waits until the server and what it started have ended. Cancel-safe: it may be dropped and called
    /// again.
    pub(crate) async fn ended(&mut self) {
        // An error means that it was reaped elsewhere.
        self.reaper.wait().await.ok();
    }

    /// Ends the server and what it started. The caller has closed the server's input.
    ///
    /// Takes at most the grace times and a second: what does not die then is left to the reaper,
    /// which goes on trying.
    pub(crate) async fn stop(mut self) -> Option<ExitStatus> {
        if timeout(LEAVE_GRACE, self.ended()).await.is_err() {
            self.stderr.abort(); // Closing this pipe tells the reaper.
            timeout(TERMINATE_GRACE + REAPER_MARGIN, self.ended()).await.ok()?;
        }
        // The last words; where nobody adopts daemons, one may hold the pipe open.
        if timeout(LAST_WORDS, &mut self.stderr).await.is_err() {
            self.stderr.abort();
        }
        self.reaper.wait().await.ok()
    }
}

/// Why a server did not even start, where its end says so.
pub(crate) fn start_failure(status: ExitStatus) -> Option<&'static str> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(NO_SUCH_PROGRAM) => Some("there is no such program"),
        Some(NOT_EXECUTABLE) => Some("it cannot be executed"),
        _ => None,
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stderr.abort();
    }
}
