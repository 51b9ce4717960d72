//! What we do: claim runs and execute them step by step.
//!
//! It meets the server only in the database. It speaks no SQL, knows no HTTP, and asks models and
//! MCP servers only through the crates that own them.

pub mod parts;
pub mod redactor;
pub mod settings;
pub mod worker;

mod after_run;
mod budget;
mod context;
mod history;
mod recorder;
mod run;
mod tools;
