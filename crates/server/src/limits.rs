//! The bounds of requests, connections and streams, each with its unit. Bounds of what a body may say
//! stand in `protocol::limits`; those that an operator or a test may set are fields of `settings`, with
//! the values here as defaults.

use std::{num::NonZeroU32, time::Duration};

use crate::rate_limit::Rate;

const MIB: usize = 1024 * 1024;

/// Longest wait for a whole request head, and longest idle time of a kept connection.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a whole request body.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for our own answer to begin.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may go on after the shutdown was asked for.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Most connections at once; more wait in the system's backlog.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Unacknowledged data closes a connection after this: its reader has stalled.
pub const STALLED_READER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the accept loop rests when the system has no more file descriptors for it.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Longest path and query, in bytes.
pub const URI_MAX_BYTES: usize = 8 * 1024;
/// Most bytes of all header names and values.
pub const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// Most headers; more are a 431.
pub const HEADERS_MAX: usize = 100;
/// Most headers that are read at all; between this and [`HEADERS_MAX`] the 431 is our own.
pub const HEADERS_READ_MAX: usize = 2 * HEADERS_MAX;
/// Read and write buffer of a connection, in bytes.
pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;
/// Most query parameters; more are a 400.
pub const QUERY_PARAMETERS_MAX: usize = 80;
/// How much of a body over its limit is read and thrown away, in bytes.
pub const DISCARD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long a body over its limit is read and thrown away.
pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest name of a field and longest words about it, in characters: they may quote what was sent.
pub const FIELD_WORDS_MAX_CHARS: usize = 256;

/// Days of usage that are summed up where no time is named, today included.
pub const USAGE_DAYS: i64 = 30;
/// Most days of usage by day.
pub const USAGE_BY_DAY_MAX_DAYS: i64 = 366;
/// Most days of usage by hour.
pub const USAGE_BY_HOUR_MAX_DAYS: i64 = 31;
/// Seconds that a client is asked to wait before it tries again.
pub const RETRY_AFTER_S: u64 = 1;
/// How long after a request failed for it `/health` says why the database refuses work.
pub const DATABASE_REASON_LASTS: Duration = Duration::from_secs(60);
/// Longest wait for the database in a health check.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests of one credential.
pub const REQUESTS_PER_KEY: Rate = rate(500, 1_000);
/// Bad credentials from one address.
pub const BAD_CREDENTIALS_PER_ADDRESS: Rate = rate(20, 100);
/// Most credentials, and most addresses, with a token bucket of their own; the rest share one.
pub const RATE_LIMITED_MAX: usize = 10_000;
/// How long the holder of an API key or login is cached.
pub const CREDENTIAL_CACHED: Duration = Duration::from_millis(400);
/// How often a stream checks that its credential is still good.
pub const CREDENTIAL_POLL: Duration = Duration::from_millis(500);
// Together they bound how long a revoked key still works: one second.
const _: () = assert!(CREDENTIAL_CACHED.as_millis() + CREDENTIAL_POLL.as_millis() < 1000);
/// How long a stream goes on while its credential cannot be checked.
pub const CREDENTIAL_OUTAGE_MAX: Duration = STREAM_OUTAGE_MAX;
/// Most keys, and most logins, whose holders are cached; beyond it the database is asked each time.
pub const CREDENTIALS_CACHED_MAX: usize = 10_000;
/// How long a login of the web page lasts, if its token does not end before.
pub const LOGIN_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest key or token to log in with, in bytes: no header could hold a longer one.
pub const LOGIN_KEY_MAX_BYTES: usize = HEADERS_MAX_BYTES;
/// How long the signing keys of tokens are used without reading them again.
pub const JWKS_FRESH: Duration = Duration::from_secs(10 * 60);
/// Shortest time between two attempts to read the signing keys.
pub const JWKS_RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long signing keys are used while they cannot be read again.
pub const JWKS_KEPT_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest wait for the signing keys.
pub const JWKS_FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest set of signing keys, in bytes.
pub const JWKS_MAX_BYTES: usize = 256 * 1024;
/// Most signing keys that are kept.
pub const JWKS_KEYS_MAX: usize = 100;
/// Largest difference of clocks that may be allowed for, in seconds.
pub const JWT_LEEWAY_MAX_S: u64 = 600;

/// Most bytes in the workspaces of one organisation.
pub const WORKSPACE_BYTES_PER_ORG: u64 = 1024 * 1024 * 1024;

/// Most streams at once, over all tenants of this process.
pub const STREAMS_MAX: usize = 8192;
/// Most streams at once of one credential.
pub const STREAMS_PER_KEY: u32 = 200;
/// Most streams at once of one organisation.
pub const STREAMS_PER_ORG: u32 = 1_000;
/// Most runs of one stream.
pub const STREAM_RUNS_MAX: usize = 64;
/// Longest life of a stream; its client resumes where it was.
pub const STREAM_LIFE_MAX: Duration = Duration::from_secs(30 * 60);
/// Time between two heartbeats of a stream.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream reads at least this often (± a fifth), even without a notification.
pub const STREAM_POLL: Duration = Duration::from_secs(1);
/// Longest wait for a slow follower to take the next chunk; then its stream is closed.
pub const STREAM_SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stream outlives a database that is away.
pub const STREAM_OUTAGE_MAX: Duration = Duration::from_secs(30);
/// A page of a stream is handed to the connection in pieces of so many bytes.
pub const STREAM_CHUNK_BYTES: usize = 64 * 1024;
/// Pieces that wait for a slow follower.
pub const STREAM_CHUNKS_WAITING: usize = 4;
/// Bytes that wait for followers, and a frame more for each read under way. Who finds no room for its
/// next page in time is closed.
pub const STREAM_BYTES: ByteBounds = ByteBounds {
    per_key: 32 * MIB,
    per_org: 64 * MIB,
    all: 512 * MIB,
    wait: Duration::from_secs(5),
};
/// Bytes of bodies that are being read.
pub const BODY_BYTES: ByteBounds = ByteBounds {
    per_key: 16 * MIB,
    per_org: 32 * MIB,
    all: 256 * MIB,
    wait: Duration::from_secs(5),
};
/// Longest body of a request that needs no credential, in bytes.
pub const OPEN_BODY_MAX_BYTES: usize = 2 * LOGIN_KEY_MAX_BYTES;
/// What a client is told to wait before it reconnects, in milliseconds.
pub const STREAM_RETRY_MS: u64 = 1000;

/// How many bytes may wait at once, and how long for room among them.
#[derive(Debug, Clone, Copy)]
pub struct ByteBounds {
    /// Of one API key, or of one user with tokens; no bound with `auth = "none"`.
    pub per_key: usize,
    /// Of one organisation; of all whose organisation is not known.
    pub per_org: usize,
    /// Of this process.
    pub all: usize,
    pub wait: Duration,
}

const fn rate(per_s: u32, burst: u32) -> Rate {
    const NONE: &str = "the rates above are not 0";
    Rate { per_s: NonZeroU32::new(per_s).expect(NONE), burst: NonZeroU32::new(burst).expect(NONE) }
}
