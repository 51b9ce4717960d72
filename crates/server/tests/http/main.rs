//! The server as its clients meet it: a real listener, a real PostgreSQL, real sockets. There is no
//! worker here: where a run has to go on, the test claims it and writes its journal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod bodies;
mod browser;
mod corpus;
mod document;
mod forks;
mod framing;
mod identity;
mod limits;
mod matrix;
mod memories;
mod naughty;
mod operations;
mod runs;
mod scopes;
mod served;
mod shares;
mod smuggling;
mod stream;
mod streams;
mod tokens;
mod trace;
mod usage;
mod web;
mod workspaces;
