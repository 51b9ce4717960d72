//! Where files for runs lie: which folder belongs to a scope, and whether an organisation keeps
//! more there than it may.
//!
//! Servers ask for the size, workers for the folder; the layout is known here alone. Nothing here
//! opens, writes or removes a file: operators, and programs beside us, put files there.

pub mod folder;
pub mod quota;
pub mod size;
