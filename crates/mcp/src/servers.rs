//! All MCP servers of this process. For callers: start, list, call, look, stop.

use std::{collections::BTreeMap, ffi::OsString, sync::Arc, time::Duration};

use protocol::tool::{LeftOutTool, ToolInfo};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    call::{CallContext, CallError, CallResult},
    config::ServerConfig,
    connection::ServerConnection,
    process::{Launcher, inheritable},
    status::{ServerState, ServerStatus},
    supervisor::{Live, SupervisedServer},
};

/// How long a call waits for a server that is being restarted.
pub const RESTART_WAIT: Duration = Duration::from_secs(5);

/// The configured servers, each watched by a task of its own.
///
/// Dropped, they are stopped in the background; [`Servers::stop`] waits for it.
#[derive(Debug)]
pub struct Servers {
    servers: BTreeMap<String, Arc<SupervisedServer>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Servers {
    /// Starts all of them, and waits until each runs or has failed once.
    ///
    /// A server that cannot run is a warning and the absence of its tools. Of `environment`, which
    /// is ours, the servers get a few harmless variables (`PATH`, `HOME`, the locale, …). Each runs
    /// behind the `launcher`.
    pub async fn start(
        configs: BTreeMap<String, ServerConfig>,
        launcher: Launcher,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let inherited = Arc::new(inheritable(environment));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let servers: BTreeMap<_, _> = configs
            .into_iter()
            .map(|(name, config)| (name.clone(), Arc::new(SupervisedServer::new(name, config))))
            .collect();
        for server in servers.values() {
            let (server, launcher) = (server.clone(), launcher.clone());
            let (inherited, stop) = (inherited.clone(), stop.clone());
            tasks.spawn(async move { server.supervise(&launcher, &inherited, &stop).await });
        }
        tasks.close();
        for server in servers.values() {
            wait_until(server, |live| live.state != ServerState::Starting).await;
        }
        let _stop_on_drop = stop.clone().drop_guard();
        Self { servers, tasks, stop, _stop_on_drop }
    }

    /// The tools that can be called now, by name.
    pub fn tools(&self) -> Vec<ToolInfo> {
        let infos = |server: &Arc<SupervisedServer>| {
            let catalog = server.live.borrow().catalog.clone();
            catalog.offered.values().map(|tool| tool.info.clone()).collect::<Vec<_>>()
        };
        self.servers.values().flat_map(infos).collect()
    }

    /// The tools that cannot be used, and why.
    pub fn left_out(&self) -> Vec<LeftOutTool> {
        let left_out =
            |server: &Arc<SupervisedServer>| server.live.borrow().catalog.left_out.clone();
        self.servers.values().flat_map(left_out).collect()
    }

    /// Calls `<server>__<tool>`, once. The arguments have been checked by the caller.
    ///
    /// An error of the tool itself is a [`CallResult`] with `is_error`.
    pub async fn call(
        &self,
        tool: &str,
        args: &Value,
        context: CallContext,
    ) -> Result<CallResult, CallError> {
        let unknown = || CallError::UnknownTool { tool: tool.chars().take(128).collect() };
        let server = tool.split_once("__").and_then(|(server, _)| self.servers.get(server));
        let server = server.ok_or_else(unknown)?;
        let Value::Object(args) = args else {
            return Err(CallError::Refused { message: "the arguments are not an object".into() });
        };
        let connection = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(CallError::Cancelled),
            connection = connection(server) => connection?,
        };
        let catalog = server.live.borrow().catalog.clone();
        let own_name = &catalog.offered.get(tool).ok_or_else(unknown)?.own_name;
        let after = context.timeout.unwrap_or(server.config.call_timeout);
        connection.call(&server.name, own_name, args.clone(), after, &context).await
    }

    /// How each server is.
    pub fn status(&self) -> Vec<ServerStatus> {
        self.servers.values().map(|server| status(server, &server.live.borrow())).collect()
    }

    /// Waits until the server is as asked. Returns at once, `None`, when there is no such server.
    pub async fn wait_for(
        &self,
        server: &str,
        as_asked: impl Fn(&ServerStatus) -> bool,
    ) -> Option<ServerStatus> {
        let server = self.servers.get(server)?;
        let live = wait_until(server, |live| as_asked(&status(server, live))).await?;
        Some(status(server, &live))
    }

    /// Stops all of them and waits until their processes are gone: a few seconds at most.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// A connection to a server that runs, or will in a moment.
async fn connection(server: &SupervisedServer) -> Result<ServerConnection, CallError> {
    let settled = |live: &Live| {
        live.connection.is_some()
            || !matches!(live.state, ServerState::Running | ServerState::Restarting)
    };
    // To the caller, a server that is not ready in time does not run.
    let live = timeout(RESTART_WAIT, wait_until(server, settled)).await.ok().flatten();
    live.and_then(|live| live.connection).ok_or_else(|| {
        let reason = server.live.borrow().last_error.clone();
        let reason = reason.unwrap_or_else(|| "it was stopped".into());
        CallError::Unavailable { server: server.name.clone(), reason }
    })
}

async fn wait_until(server: &SupervisedServer, condition: impl Fn(&Live) -> bool) -> Option<Live> {
    let mut changes = server.live.subscribe();
    changes.wait_for(condition).await.ok().map(|live| live.clone())
}

fn status(server: &SupervisedServer, live: &Live) -> ServerStatus {
    ServerStatus {
        name: server.name.clone(),
        state: live.state,
        tools: live.catalog.offered.keys().cloned().collect(),
        left_out: live.catalog.left_out.clone(),
        warnings: live.catalog.warnings.clone(),
        starts: live.starts,
        last_error: live.last_error.clone(),
        stderr_tail: server.stderr.text(),
    }
}
