//! The running server: find one that was left running, or spawn it; wait until it is ready; stop it.
//! It does what `pg_ctl` does, by the signals and files that PostgreSQL's manual describes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{self, CommandLine};
use crate::error::{StartError, StopError, io_error};
use crate::home::DataFolder;
use crate::pid_file::PidFile;
use crate::residents::Residence;
use crate::socket::Socket;

/// How often a file or a process that cannot be waited for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How often a server that should run is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Includes recovery after a crash, which `max_wal_size` bounds.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// For a fast shutdown: sessions are ended and a checkpoint is written.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// For an immediate one: Postgres itself kills what lasts longer than five seconds.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long children that lost their postmaster may take to notice, before they are told to end.
const ORPHANS_PATIENCE: Duration = Duration::from_secs(5);
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(15);

/// The first process of a server, our child or not.
pub(crate) struct Postmaster {
    pid: u32,
    child: Option<Child>,
}

/// Finds a server that an earlier process of ours left in this cluster, provided that it runs
/// as we would start it; one that does not is stopped. With none, lock files are stale, and
/// removed: Postgres would believe them.
pub(crate) async fn find(
    home: &DataFolder,
    socket: &Socket,
    command: &CommandLine,
) -> Result<Option<Postmaster>, StartError> {
    let cluster = home.cluster();
    let residence = Residence::of(home);
    let began = Instant::now();
    loop {
        let file = PidFile::read(&cluster);
        let residents = residence.processes();
        match file {
            Some(PidFile { pid, is_stopping, .. }) if residents.contains(&pid) => {
                let mut postmaster = Postmaster { pid, child: None };
                if !is_stopping && was_started_by(command, &cluster) {
                    return Ok(Some(postmaster));
                }
                postmaster.stop(home).await.map_err(StartError::Leftover)?;
            }
            _ if residents.is_empty() => {
                remove_file(&cluster.join("postmaster.pid"))?;
                remove_file(&socket.lock_file())?;
                return Ok(None);
            }
            _ if began.elapsed() > ORPHANS_TIMEOUT => {
                let pid = residents.first().copied().unwrap_or_default();
                return Err(StartError::Leftover(StopError::StillRunning { pid }));
            }
            _ => {
                if began.elapsed() > ORPHANS_PATIENCE {
                    residents.into_iter().for_each(|pid| send(pid, Signal::SIGQUIT));
                }
                sleep(POLL_INTERVAL).await;
            }
        }
    }
}

/// Starts the server in a process group of its own, so that Ctrl-C reaches us alone.
pub(crate) fn spawn(home: &DataFolder, line: &CommandLine) -> Result<Postmaster, StartError> {
    let cluster = home.cluster();
    // A copy made by root, or a change of account.
    let owner = fs::metadata(&cluster).map_err(io_error("look at", &cluster))?.uid();
    if owner != home.account().uid() {
        home.account().own(&cluster)?;
    }
    let log = home.new_log()?;
    let stdout = log.try_clone().map_err(io_error("open", &home.log()))?;
    let child = cluster::command(home, &line.program)
        .args(&line.arguments)
        .stdout(stdout)
        .stderr(log)
        .spawn()
        .map_err(io_error("run", &line.program))?;
    // Only a child that was waited for has no id.
    let pid = child.id().unwrap_or_default();
    Ok(Postmaster { pid, child: Some(child) })
}

impl Postmaster {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it takes connections.
    pub(crate) async fn ready(&mut self, home: &DataFolder) -> Result<(), StartError> {
        let becoming_ready = async {
            loop {
                let file = PidFile::read(&home.cluster());
                if file.is_some_and(|file| file.pid == self.pid && file.is_ready) {
                    return Ok(());
                }
                if self.has_ended(home) {
                    return Err(StartError::Ended { log: home.log_tail() });
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(READY_TIMEOUT, becoming_ready).await.unwrap_or_else(|_| {
            Err(StartError::NotReady { waited_s: READY_TIMEOUT.as_secs(), log: home.log() })
        })
    }

    /// Waits until it ends, which nobody asked it to.
    pub(crate) async fn died(&mut self, home: &DataFolder) {
        self.end(home, WATCH_INTERVAL).await;
    }

    /// Fast shutdown, and an immediate one if that takes too long.
    pub(crate) async fn stop(&mut self, home: &DataFolder) -> Result<(), StopError> {
        for (signal, limit) in [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, QUIT_TIMEOUT)] {
            // Its id may be another's by now.
            if self.has_ended(home) {
                return Ok(());
            }
            send(self.pid, signal);
            // Processes that somebody suspended would hear nothing of it.
            Residence::of(home).processes().into_iter().for_each(|pid| send(pid, Signal::SIGCONT));
            if timeout(limit, self.end(home, POLL_INTERVAL)).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(pid = self.pid, %signal, "postgres does not stop");
        }
        Err(StopError::StillRunning { pid: self.pid })
    }

    async fn end(&mut self, home: &DataFolder, look_every: Duration) {
        while !self.has_ended(home) {
            sleep(look_every).await;
        }
    }

    fn has_ended(&mut self, home: &DataFolder) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !Residence::of(home).holds(self.pid),
        }
    }
}

fn was_started_by(command: &CommandLine, cluster: &Path) -> bool {
    fs::read(cluster.join("postmaster.opts")).is_ok_and(|line| line == command.as_recorded())
}

fn send(pid: u32, signal: Signal) {
    // It may have ended in between, which a caller that waits for it will see.
    if let Err(error) = kill(Pid::from_raw(pid.cast_signed()), signal) {
        tracing::debug!(pid, %signal, %error, "no signal sent");
    }
}

fn remove_file(path: &Path) -> Result<(), StartError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}
