//! Workspaces: the folder that holds a scope's files for its runs, and the quota of an organisation.
//!
//! Servers ask for the size, workers for the folder; only this crate knows the layout. Nothing here
//! opens, writes or removes a file: operators and other programs put files there.

pub mod folder;
pub mod quota;
pub mod size;
