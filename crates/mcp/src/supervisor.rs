//! The life of one server: start, watch, restart with growing pauses, give up for a while, stop.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    ffi::OsString,
    fmt::Display,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::model::{ProtocolVersion, Tool};
use tokio::{
    io::{DuplexStream, duplex},
    process::{ChildStdin, ChildStdout},
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::Catalog,
    config::{SERVER_NAME_RULE, ServerConfig, is_server_name},
    connection::{Conversation, ServerConnection, version_named},
    process::{Launcher, Process, start_failure},
    status::ServerState,
    stderr::StderrTail,
    wire,
};

/// So many crashes within [`CRASH_WINDOW`], and the server is left alone for [`SUSPENSION`].
const CRASHES_MAX: usize = 5;
/// The period in which crashes are counted: see [`CRASHES_MAX`].
const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// After it one more start is tried; failing again means another pause.
const SUSPENSION: Duration = Duration::from_secs(60);
/// Pause after the first crash; doubled with each further one within the window.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Shortest time between two readings of a tool list that keeps changing.
const RELIST_PAUSE: Duration = Duration::from_secs(1);
/// How long the rest of a dead server's output may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes between the wire and the SDK.
const PIPE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct SupervisedServer {
    pub(crate) name: String,
    pub(crate) config: ServerConfig,
    pub(crate) live: watch::Sender<Live>,
    pub(crate) stderr: StderrTail,
    /// The version that it is greeted with, where it knows only those with `initialize`.
    version: Mutex<ProtocolVersion>,
}

/// The present state of a server.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) state: ServerState,
    /// As last listed; kept through a restart, gone when suspended.
    pub(crate) catalog: Arc<Catalog>,
    /// Present while the server runs.
    pub(crate) connection: Option<ServerConnection>,
    pub(crate) starts: u32,
    pub(crate) last_error: Option<String>,
}

impl SupervisedServer {
    pub(crate) fn new(name: String, config: ServerConfig) -> Self {
        let live = Live {
            state: ServerState::Starting,
            catalog: Arc::default(),
            connection: None,
            starts: 0,
            last_error: None,
        };
        Self {
            name,
            config,
            live: watch::Sender::new(live),
            stderr: StderrTail::default(),
            version: Mutex::new(ProtocolVersion::LATEST_WITH_INITIALIZE),
        }
    }

    /// Keeps the server running until `stop`; returns when its processes are gone.
    pub(crate) async fn supervise(
        &self,
        launcher: &Launcher,
        inherited: &BTreeMap<OsString, OsString>,
        stop: &CancellationToken,
    ) {
        if !is_server_name(&self.name) {
            self.down(ServerState::Stopped, Some(SERVER_NAME_RULE.into()));
            return;
        }
        let mut crashes = Crashes::default();
        while !stop.is_cancelled() {
            let start = Instant::now();
            let Err(error) = self.live_once(launcher, inherited, stop).await else { break };
            let (state, pause) = crashes.add(Instant::now(), start.elapsed());
            self.down(state, Some(error));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.down(ServerState::Stopped, None);
    }

    /// One process from start to end. `Ok` when it was asked to stop, `Err` says what went wrong.
    async fn live_once(
        &self,
        launcher: &Launcher,
        inherited: &BTreeMap<OsString, OsString>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        self.live.send_modify(|live| live.starts += 1);
        let (mut process, stdin, stdout) =
            Process::start(&self.name, &self.config, launcher, inherited, &self.stderr)
                .map_err(|error| self.cannot_start(&error))?;
        let end = tokio::select! {
            end = self.converse(stdin, stdout, &mut process) => Err(end),
            () = stop.cancelled() => Ok(()),
        };
        let was_running = self.live.borrow().state == ServerState::Running;
        self.live.send_modify(|live| live.connection = None);
        let status = process.stop().await;
        end.map_err(|error| {
            let error = match (status.and_then(start_failure), status) {
                (Some(why), _) => return self.cannot_start(&why),
                (None, Some(status)) => format!("{error} ({status})"),
                (None, None) => error,
            };
            // Why it did not come up stands there, in its own words.
            match self.stderr.last_words().filter(|_| !was_running) {
                Some(words) => format!("{error}; it said: {words}"),
                None => error,
            }
        })
    }

    fn version(&self) -> MutexGuard<'_, ProtocolVersion> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cannot_start(&self, why: &dyn Display) -> String {
        format!("cannot start `{}`: {why}", self.config.command)
    }

    /// Serves calls until something goes wrong, and returns what.
    async fn converse(
        &self,
        stdin: ChildStdin,
        stdout: ChildStdout,
        process: &mut Process,
    ) -> String {
        let (ours, theirs) = duplex(PIPE_BYTES);
        let mut talk = pin!(self.talk(ours, stdin));
        let died = async {
            process.ended().await;
            // Its output ends too, unless someone it started holds it open.
            sleep(LAST_WORDS).await;
        };
        let error = tokio::select! {
            biased;
            end = wire::forward(stdout, theirs) => end.to_string(),
            () = died => "it ended".into(),
            error = &mut talk => return error,
        };
        // What it said last is still on its way to the callers.
        let _ = timeout(LAST_WORDS, talk).await;
        error
    }

    async fn talk(&self, ours: DuplexStream, stdin: ChildStdin) -> String {
        let changed = Arc::new(Notify::new());
        let opening = async {
            let version = self.version().clone();
            let opened = Conversation::open(ours, stdin, version, changed.clone()).await;
            let conversation = opened.inspect_err(|words| self.learn_version(words))?;
            let tools = conversation.connection().list_tools().await?;
            Ok::<_, String>((conversation, tools))
        };
        let (mut conversation, tools) = match timeout(self.config.startup_timeout, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return error,
            Err(_) => {
                let ms = self.config.startup_timeout.as_millis();
                return format!("it did not list its tools within {ms} ms");
            }
        };
        let connection = conversation.connection();
        self.up(&connection, tools);
        tokio::select! {
            never = self.relist(&connection, &changed) => match never {},
            end = conversation.end() => end.into(),
        }
    }

    /// A server that refuses our version and names others is greeted with one of them when it is
    /// started again. That is not kept: after a start of the runtime it is learnt once more.
    fn learn_version(&self, refusal: &str) {
        let mut version = self.version();
        if let Some(named) = version_named(refusal, &version) {
            *version = named;
        }
    }

    /// Reads the tool list again whenever the server says that it changed.
    async fn relist(&self, connection: &ServerConnection, changed: &Notify) -> Infallible {
        loop {
            changed.notified().await;
            match timeout(self.config.call_timeout, connection.list_tools()).await {
                Ok(Ok(tools)) => self.up(connection, tools),
                Ok(Err(error)) => tracing::warn!(server = self.name, error, "tools not listed"),
                Err(_) => tracing::warn!(server = self.name, "tools not listed in time"),
            }
            sleep(RELIST_PAUSE).await;
        }
    }

    fn up(&self, connection: &ServerConnection, tools: Vec<Tool>) {
        let catalog = Catalog::new(&self.name, &self.config, tools);
        tracing::info!(server = self.name, tools = catalog.offered.len(), "MCP server is running");
        self.live.send_modify(|live| {
            live.state = ServerState::Running;
            live.catalog = Arc::new(catalog);
            live.connection = Some(connection.clone());
        });
    }

    fn down(&self, state: ServerState, error: Option<String>) {
        if let Some(error) = &error {
            tracing::warn!(server = self.name, error, ?state, "MCP server is not running");
        }
        self.live.send_modify(|live| {
            live.state = state;
            live.connection = None;
            live.last_error = error.or(live.last_error.take());
            if !matches!(state, ServerState::Running | ServerState::Restarting) {
                live.catalog = Arc::default();
            }
        });
    }
}

/// The recent crashes of one server.
#[derive(Debug, Default)]
struct Crashes {
    recent: VecDeque<Instant>,
    open: bool,
}

impl Crashes {
    /// What follows the end of a process that `lived` so long: a state, and a pause before the next.
    fn add(&mut self, now: Instant, lived: Duration) -> (ServerState, Duration) {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|&crash| now - crash > CRASH_WINDOW) {
            self.recent.pop_front();
        }
        // The first start after a suspension is a trial.
        let trial_failed = self.open && lived < CRASH_WINDOW;
        self.open = self.recent.len() >= CRASHES_MAX || trial_failed;
        if self.open {
            self.recent.clear();
            return (ServerState::Suspended, SUSPENSION);
        }
        let doublings = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX);
        (ServerState::Restarting, RESTART_PAUSE * 2_u32.saturating_pow(doublings))
    }
}

#[cfg(test)]
mod tests {
    use ServerState::{Restarting, Suspended};

    use super::*;

    #[test]
    fn crashes_in_a_row_suspend_and_a_good_trial_forgives() {
        const fn s(seconds: u64) -> Duration {
            Duration::from_secs(seconds)
        }
        let start = Instant::now();
        let mut crashes = Crashes::default();
        let mut check = |at, lived, state, pause_ms| {
            let expected = (state, Duration::from_millis(pause_ms));
            assert_eq!(crashes.add(start + at, lived), expected, "{at:?}");
        };
        check(s(0), s(0), Restarting, 200);
        check(s(1), s(0), Restarting, 400);
        check(s(2), s(0), Restarting, 800);
        check(s(70), s(60), Restarting, 200);
        check(s(71), s(0), Restarting, 400);
        check(s(72), s(0), Restarting, 800);
        check(s(73), s(0), Restarting, 1600);
        check(s(74), s(0), Suspended, 60_000);
        check(s(135), s(1), Suspended, 60_000);
        check(s(300), s(100), Restarting, 200);
    }
}
