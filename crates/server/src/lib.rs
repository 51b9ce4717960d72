//! The HTTP server: routes, authentication, scopes, errors, live streams and the web page.
//!
//! A handler parses, calls and answers. Data belongs to `store` and `memory`. Nothing here knows a
//! worker: a run is created as a row, and its events are read as rows.

pub mod app;
pub mod auth;
mod body_reader;
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
mod spans;
mod stream_out;
mod stream_pages;
mod waiting_bytes;
