//! The whole system through the built program, as a person at a shell sees it.
//!
//! Needs the embedded PostgreSQL and the Python skills: `make deps` fetches both. A test without
//! them fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice
)]

mod canaries;
mod commands;
mod embedder;
mod keys;
mod neighbours;
mod orphans;
mod parrot;
mod production;
mod program;
mod refusals;
mod story;
mod transfer;
mod watching;
