//! Middleware: what every request passes before its handler.

mod browser_guard;
pub(crate) mod known_query;
pub(crate) mod request_body;
pub(crate) mod request_guard;
pub(crate) mod require_right;
