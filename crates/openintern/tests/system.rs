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

#[path = "system/canaries.rs"]
mod canaries;
#[path = "system/commands.rs"]
mod commands;
#[path = "system/embedder.rs"]
mod embedder;
#[path = "system/keys.rs"]
mod keys;
#[path = "system/parrot.rs"]
mod parrot;
#[path = "system/production.rs"]
mod production;
#[path = "system/program.rs"]
mod program;
#[path = "system/refusals.rs"]
mod refusals;
#[path = "system/story.rs"]
mod story;
#[path = "system/transfer.rs"]
mod transfer;
#[path = "system/watching.rs"]
mod watching;
