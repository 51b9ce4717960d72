//! What wraps handlers.

pub(crate) mod request_body;
pub(crate) mod request_guard;
pub(crate) mod require_right;
