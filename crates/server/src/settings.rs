//! Bounds that an operator or a test may set.

use std::time::Duration;

use workspaces::quota::Measuring;

use crate::{
    limits::{self, ByteBounds},
    rate_limit::Rate,
};

/// Bounds that an operator or a test may set. The defaults are those of [`limits`].
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Names of this server, besides those of loopback, while nothing authenticates its callers.
    pub allowed_hosts: Vec<String>,
    /// Longest wait for a whole request head, and longest idle time of a kept connection.
    pub header_read_timeout: Duration,
    /// Longest wait for a whole request body.
    pub body_read_timeout: Duration,
    /// Longest wait for our own answer to begin.
    pub answer_timeout: Duration,
    /// How long open requests may go on after the shutdown was asked for.
    pub drain_max: Duration,
    pub connections_max: usize,
    /// Most streams at once, over all tenants.
    pub streams_max: usize,
    /// Bytes of streams that wait for their followers.
    pub stream_bytes: ByteBounds,
    /// Bytes of request bodies that are being read.
    pub body_bytes: ByteBounds,
    /// What one tenant may have of this process.
    pub tenants: TenantLimits,
    /// How the workspaces of organisations are measured.
    pub measuring: Measuring,
    /// Time between two heartbeats of a stream.
    pub stream_heartbeat: Duration,
    /// Longest life of a stream.
    pub stream_life_max: Duration,
    /// Longest wait for a slow follower to take the next chunk.
    pub stream_send_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            header_read_timeout: limits::HEADER_READ_TIMEOUT,
            body_read_timeout: limits::BODY_READ_TIMEOUT,
            answer_timeout: limits::ANSWER_TIMEOUT,
            drain_max: limits::DRAIN_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            streams_max: limits::STREAMS_MAX,
            stream_bytes: limits::STREAM_BYTES,
            body_bytes: limits::BODY_BYTES,
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
    /// Bad credentials from one address (of IPv6: a /64).
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
