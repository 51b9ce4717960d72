//! How we are reached: routes, authentication, scopes, errors, live streams and the web page, over
//! HTTP.
//!
//! A handler parses, calls and answers. Data stands in `store` and `memory`; workers are unknown
//! here: a run is created as a row, and its events are rows again.

pub mod app;
pub mod auth;
mod document;
mod error;
mod extract;
pub mod json;
pub mod limits;
pub mod listen;
mod middleware;
mod open_streams;
pub mod rate_limit;
pub mod router;
mod routes;
pub mod settings;
mod stream_bytes;
mod stream_pages;
