//! The server as its clients meet it: a real listener, a real PostgreSQL, real sockets. There is no
//! worker here: where a run has to go on, the test claims it and writes its journal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

#[path = "http/bodies.rs"]
mod bodies;
#[path = "http/corpus.rs"]
mod corpus;
#[path = "http/document.rs"]
mod document;
#[path = "http/framing.rs"]
mod framing;
#[path = "http/identity.rs"]
mod identity;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/matrix.rs"]
mod matrix;
#[path = "http/memories.rs"]
mod memories;
#[path = "http/naughty.rs"]
mod naughty;
#[path = "http/operations.rs"]
mod operations;
#[path = "http/runs.rs"]
mod runs;
#[path = "http/scopes.rs"]
mod scopes;
#[path = "http/served.rs"]
mod served;
#[path = "http/smuggling.rs"]
mod smuggling;
#[path = "http/stream.rs"]
mod stream;
#[path = "http/tokens.rs"]
mod tokens;
#[path = "http/usage.rs"]
mod usage;
#[path = "http/web.rs"]
mod web;
#[path = "http/workspaces.rs"]
mod workspaces;
