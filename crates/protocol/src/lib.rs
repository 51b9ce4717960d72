//! The types that cross a boundary of the system: HTTP, SSE, the database, a model.
//!
//! The only crate whose types are promises to outsiders. It does no IO and depends on no other crate
//! of ours. A value that exists here is valid: it is parsed once, at the boundary.

#![warn(missing_docs)]

pub mod audit;
pub mod context;
pub mod decode_error;
pub mod error;
pub mod event;
pub mod id;
pub mod json;
pub mod key;
pub mod limits;
pub mod memory;
pub mod message;
pub mod model_names;
pub mod name;
pub mod output;
pub mod page;
pub mod run;
pub mod scope;
pub mod strict_json;
pub mod time;
pub mod tool;
pub mod trace;
pub mod usage;
