//! The agent: claims runs and executes them step by step.
//!
//! It meets the server only in the database. It contains no SQL and no HTTP, and calls models and MCP
//! servers only through the crates that own them.

pub mod parts;
pub mod redactor;
pub mod settings;
pub mod tools;
pub mod worker;

mod after_run;
mod budget;
mod context;
mod gate;
mod history;
mod lessons;
mod recorder;
mod run;
mod turnstile;
