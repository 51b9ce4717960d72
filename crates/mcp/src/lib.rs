//! Tools of MCP servers: processes that the operator configured, started once per process of ours.
//!
//! A server may be absent, slow, broken or hostile; whatever it does costs its own tools and
//! nothing else. The SDK's types stay inside, since it changes often. This crate does not decide
//! whether a call may be made, does not check its arguments, and never sends a call twice.

pub mod call;
pub mod config;
pub mod process;
pub mod reaper;
pub mod servers;
pub mod status;

mod catalog;
mod connection;
mod lines;
mod schema;
mod stderr;
mod supervisor;
mod text;
mod wire;
