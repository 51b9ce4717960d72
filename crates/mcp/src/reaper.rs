//! The process between us and a server, which ends the server and everything that it started:
//! children, their children, and daemons. It does so when the server has ended, and when nobody
//! reads its standard error any more: because we closed that pipe, or because our process is gone,
//! for whatever reason.
//!
//! The server has our pipes; nothing passes through here. It knows nothing of MCP. Daemons become its
//! children only on Linux; elsewhere they escape.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, ErrorKind, Write},
    os::unix::process::CommandExt,
    process::Command,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait},
    stdio::{dup2_stdin, dup2_stdout},
};
use tokio::{
    signal::unix::{self, SignalKind},
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

/// After SIGTERM its processes have this long; then SIGKILL.
pub(crate) const TERMINATE_GRACE: Duration = Duration::from_secs(2);
/// From one SIGKILL to the next, until nobody is left.
const KILL_EVERY: Duration = Duration::from_millis(5);

/// The exit code of shells where there is no such program.
pub(crate) const NO_SUCH_PROGRAM: u8 = 127;
/// The exit code of shells where a program exists and cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The exit code of shells for a signal, without the signal's number.
const BY_SIGNAL: u8 = 128;

/// Runs the server and ends what is left of it. Returns the exit code: the server's own, in the
/// convention of shells.
pub async fn run(program: OsString, arguments: Vec<OsString>) -> u8 {
    match serve(program, arguments).await {
        Ok(code) => code,
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok(); // It is kept like the output of the server.
            match error.kind() {
                ErrorKind::NotFound => NO_SUCH_PROGRAM,
                _ => NOT_EXECUTABLE,
            }
        }
    }
}

async fn serve(program: OsString, arguments: Vec<OsString>) -> io::Result<u8> {
    let mut told = Told::listen()?;
    adopt_orphans()?;
    // In a group of its own: what it sends to its group does not reach us.
    let server = Command::new(program).args(arguments).process_group(0).spawn()?;
    // Our end must see when the server closes these.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    let mut tree = Tree {
        leader: Pid::from_child(&server),
        ended: None,
        changes: unix::signal(SignalKind::child())?,
    };
    let let_go = tokio::select! {
        () = tree.until(|tree| tree.ended.is_some()) => false,
        () = told.wait_for_end() => true,
    };
    if let_go {
        tree.signal(Signal::TERM);
        tree.leaves_within(TERMINATE_GRACE).await;
    }
    while !tree.is_gone() {
        tree.signal(Signal::KILL);
        sleep(KILL_EVERY).await;
    }
    Ok(tree.ended.map_or(0, exit_code))
}

/// What may tell us to end the server.
struct Told {
    unheard: oneshot::Receiver<()>,
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
}

impl Told {
    fn listen() -> io::Result<Self> {
        let (gone, unheard) = oneshot::channel();
        thread::Builder::new().name("listener".into()).spawn(move || {
            // Without being asked for anything, `poll` still says when the reading end is closed.
            let pipe = io::stderr();
            let mut watched = [PollFd::new(&pipe, PollFlags::empty())];
            while poll(&mut watched, None).is_err_and(|error| error == Errno::INTR) {}
            gone.send(()).ok();
        })?;
        Ok(Self {
            unheard,
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    async fn wait_for_end(&mut self) {
        tokio::select! {
            _ = &mut self.unheard => {}
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Our children: the server, and its descendants that lost their parent.
struct Tree {
    /// The server; its id is also that of its group.
    leader: Pid,
    ended: Option<WaitStatus>,
    changes: unix::Signal,
}

impl Tree {
    /// Reaps the processes that have ended, and returns whether none is left.
    fn is_gone(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => self.ended = Some(status),
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true, // There are no children.
            }
        }
    }

    /// Waits until it is as asked, or gone.
    async fn until(&mut self, as_asked: impl Fn(&Self) -> bool) {
        while !self.is_gone() && !as_asked(self) {
            self.changes.recv().await;
        }
    }

    async fn leaves_within(&mut self, grace: Duration) {
        // The next look at the process shows whether it did.
        timeout_at(Instant::now() + grace, self.until(|_| false)).await.ok();
    }

    /// Only children of ours are signalled, and the server's group while we have not reaped the
    /// server: until then no other process can have their numbers. Processes that they leave behind
    /// become our children, and are signalled the next time.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            kill_process_group(self.leader, signal).ok();
        }
        for child in children() {
            kill_process(child, signal).ok();
        }
    }
}

/// Makes us the parent of every process below that loses its own.
#[cfg(target_os = "linux")]
fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// The processes whose parent we are (`ppid` of proc(5)); none where there is no `/proc`.
fn children() -> Vec<Pid> {
    let us = rustix::process::getpid().as_raw_nonzero().to_string();
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    folders
        .filter_map(|folder| {
            let pid = folder.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let stat = std::fs::read_to_string(folder.path().join("stat")).ok()?;
            // The name before it may hold anything, brackets included.
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?;
            (parent == us).then_some(pid)
        })
        .collect()
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
    let signal = status.terminating_signal().and_then(|signal| u8::try_from(signal).ok());
    code.or(signal.map(|signal| BY_SIGNAL.saturating_add(signal))).unwrap_or(0)
}
