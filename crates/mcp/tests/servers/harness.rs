//! Starts servers that misbehave, and hears when their processes are gone.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use mcp::{
    call::{CallContext, CallError, CallResult},
    config::ServerConfig,
    process::Launcher,
    servers::Servers,
    status::ServerStatus,
};
use protocol::id::{CallId, RunId};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Everything here is over long before, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the test itself says when no further process is expected.
const NO_MORE: &str = "no more";

pub(crate) fn python() -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    assert!(python.exists(), "{} is missing; hint: run scripts/python-env.sh", python.display());
    python.to_str().unwrap().to_owned()
}

pub(crate) fn launcher() -> Launcher {
    Launcher::reaper(env!("CARGO_BIN_EXE_mcp-reaper-for-tests"), &[])
}

pub(crate) fn environment() -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap();
    let ours = [("OPENAI_API_KEY", "sk-canary"), ("HOME", "/home/canary")];
    let ours = ours.map(|(name, value)| (name.into(), value.into()));
    ours.into_iter().chain([("PATH".into(), path)]).collect()
}

pub(crate) fn context() -> CallContext {
    CallContext {
        call_id: CallId::derive(RunId::generate(), 1, 0, "act", "{}"),
        timeout: Some(PATIENCE),
        cancel: CancellationToken::new(),
    }
}

/// A misbehaving server, started.
pub(crate) struct Hostile {
    pub(crate) servers: Servers,
    pub(crate) life: Life,
}

/// What its processes say through the socket; the end of it when the last one is gone.
pub(crate) struct Life {
    said: Receiver<String>,
    /// Keeps the socket's folder.
    _folder: TempDir,
    address: PathBuf,
}

impl Hostile {
    pub(crate) async fn start(how: &str) -> Self {
        Self::start_within(15_000, how).await
    }

    pub(crate) async fn start_within(ms: u64, how: &str) -> Self {
        let life = Life::listen();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/server.py");
        let mut config = ServerConfig::new(python(), ["-I", "-S", script, how]);
        config.env.insert("ALIVE".into(), life.address.to_str().unwrap().to_owned());
        config.startup_timeout = Duration::from_millis(ms);
        let configs = BTreeMap::from([("hostile".to_owned(), config)]);
        Self { servers: Servers::start(configs, launcher(), environment()).await, life }
    }

    pub(crate) async fn act(&self) -> Result<CallResult, CallError> {
        self.servers.call("hostile__act", &json!({}), context()).await
    }

    pub(crate) async fn act_within(&self, ms: u64) -> Result<CallResult, CallError> {
        let context = CallContext { timeout: Some(Duration::from_millis(ms)), ..context() };
        self.servers.call("hostile__act", &json!({}), context).await
    }

    pub(crate) fn status(&self) -> ServerStatus {
        self.servers.status().remove(0)
    }

    pub(crate) async fn until(&self, as_asked: impl Fn(&ServerStatus) -> bool) -> ServerStatus {
        let wait = self.servers.wait_for("hostile", as_asked);
        let status = tokio::time::timeout(PATIENCE, wait).await;
        status.unwrap_or_else(|_| panic!("waited in vain: {:?}", self.status())).unwrap()
    }

    pub(crate) async fn stop_and_see_it_gone(self) {
        tokio::time::timeout(Duration::from_secs(8), self.servers.stop()).await.unwrap();
        self.life.gone();
    }
}

impl Life {
    fn listen() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("alive");
        let listener = UnixListener::bind(&address).unwrap();
        let (sender, said) = channel();
        std::thread::spawn(move || accept(&listener, sender));
        Self { said, _folder: folder, address }
    }

    /// Waits for a word of one of its processes.
    pub(crate) fn hears(&self, word: &str) {
        while self.next().expect("the server is gone") != word {}
    }

    /// Waits until no process holds a connection.
    pub(crate) fn gone(self) {
        let mut last = UnixStream::connect(&self.address).unwrap();
        last.write_all(NO_MORE.as_bytes()).unwrap();
        drop(last);
        while self.next().is_some() {}
    }

    fn next(&self) -> Option<String> {
        tokio::task::block_in_place(|| match self.said.recv_timeout(PATIENCE) {
            Ok(word) => Some(word),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a process is still alive, or says nothing"),
        })
    }
}

/// Hands on every line of every connection until one says [`NO_MORE`]; the senders go with the
/// connections.
fn accept(listener: &UnixListener, sender: Sender<String>) {
    for connection in listener.incoming() {
        let mut lines = BufReader::new(connection.unwrap()).lines();
        let Some(Ok(role)) = lines.next() else { continue };
        if role == NO_MORE {
            return;
        }
        let sender = sender.clone();
        let _ = sender.send(role);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
}
