//! The server as its clients meet it: a real listener, a real PostgreSQL, real sockets. There is no
//! worker here: where a run has to go on, the test claims it and writes its journal.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "http/bodies.rs"]
mod bodies;
#[path = "http/document.rs"]
mod document;
#[path = "http/framing.rs"]
mod framing;
#[path = "http/identity.rs"]
mod identity;
#[path = "http/memories.rs"]
mod memories;
#[path = "http/operations.rs"]
mod operations;
#[path = "http/runs.rs"]
mod runs;
#[path = "http/scopes.rs"]
mod scopes;
#[path = "http/served.rs"]
mod served;
#[path = "http/stream.rs"]
mod stream;
#[path = "http/tokens.rs"]
mod tokens;
#[path = "http/web.rs"]
mod web;
