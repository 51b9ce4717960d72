//! How we are reached: routes, identity, scope, refusals, live streams and the web page, over HTTP.
//!
//! A handler parses, calls and answers. What is known stands in `store` and `memory`; who works on
//! runs is unknown here: a run is created as a row, and its events are rows again.

mod app;
mod audit;
mod body;
mod border;
mod catalog;
mod document;
mod gate;
mod health;
pub mod identity;
pub mod json;
mod keys;
pub mod limits;
mod listen;
mod login;
mod memories;
mod open_streams;
pub mod pace;
mod path;
mod query;
mod refusal;
mod router;
mod runs;
mod scope;
mod sessions;
mod stream;
mod usage;
mod web;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use memory::service::MemoryService;
use protocol::run::AgentInfo;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use workspaces::quota::Measuring;

use crate::{app::App, identity::Identity, pace::Rate};

/// Bounds that an operator or a test may set. The defaults are those of [`limits`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest wait for a whole request head, and longest idle time of a kept connection.
    pub header_read_timeout: Duration,
    /// Longest wait for a whole request body.
    pub body_read_timeout: Duration,
    /// Longest wait for our own answer to begin.
    pub answer_timeout: Duration,
    /// How long open requests may go on after the shutdown was asked for.
    pub drain_max: Duration,
    /// Most connections at once.
    pub connections_max: usize,
    /// Most streams at once, over all tenants.
    pub streams_max: usize,
    /// What one tenant may have of this process.
    pub tenants: TenantLimits,
    /// How the workspaces of organisations are measured.
    pub measuring: Measuring,
    /// Time between two signs of life of a stream.
    pub stream_heartbeat: Duration,
    /// Longest life of a stream.
    pub stream_life_max: Duration,
    /// Longest wait for a slow follower to take the next chunk.
    pub stream_send_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_read_timeout: limits::HEADER_READ_TIMEOUT,
            body_read_timeout: limits::BODY_READ_TIMEOUT,
            answer_timeout: limits::ANSWER_TIMEOUT,
            drain_max: limits::DRAIN_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            streams_max: limits::STREAMS_MAX,
            tenants: TenantLimits::default(),
            measuring: Measuring::default(),
            stream_heartbeat: limits::STREAM_HEARTBEAT,
            stream_life_max: limits::STREAM_LIFE_MAX,
            stream_send_timeout: limits::STREAM_SEND_TIMEOUT,
        }
    }
}

/// What one tenant may have of this process. Several servers count each for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLimits {
    /// Streams at once of one API key, or of one user with tokens; no bound with `auth = "none"`.
    pub streams_per_key: u32,
    /// Streams at once of one organisation.
    pub streams_per_org: u32,
    /// Requests of one API key, or of one user with tokens; no bound with `auth = "none"`.
    pub requests_per_key: Rate,
    /// Credentials from one address (of IPv6: a /64) that are no good.
    pub bad_credentials_per_address: Rate,
    /// Bytes in the workspaces of one organisation, as far as this server's disk has them.
    pub workspace_bytes_per_org: u64,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            streams_per_key: limits::STREAMS_PER_KEY,
            streams_per_org: limits::STREAMS_PER_ORG,
            requests_per_key: limits::REQUESTS_PER_KEY,
            bad_credentials_per_address: limits::BAD_CREDENTIALS_PER_ADDRESS,
            workspace_bytes_per_org: limits::WORKSPACE_BYTES_PER_ORG,
        }
    }
}

/// What the server stands on.
pub struct Parts {
    /// Runs, events, sessions, tools.
    pub store: Store,
    /// Memories.
    pub memory: MemoryService,
    /// The agents that runs can use.
    pub agents: Vec<AgentInfo>,
    /// Who may ask.
    pub identity: Identity,
    /// Below it each scope has its folder, where there is one.
    pub workspace_root: PathBuf,
    /// The metrics of this process as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The version of the executable.
    pub version: &'static str,
}

/// Serves until `shutdown`, then ends streams, lets open requests finish for a bounded time, and
/// returns.
pub async fn serve(
    listener: TcpListener,
    parts: Parts,
    settings: Settings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = App::new(parts, settings, shutdown);
    listen::run(listener, router::router(app.clone()), &app).await;
    Ok(())
}

/// The OpenAPI 3.1 document of everything that [`serve`] answers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router::openapi()
}
