//! The limits on what we accept from a provider, each with its unit.

use crate::error::ModelError;

/// Longest text of an answer, in bytes.
pub const TEXT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most tool calls of an answer.
pub const CALLS_MAX: usize = 64;
/// Longest arguments of one tool call, in bytes of JSON.
pub const CALL_ARGS_MAX_BYTES: usize = 256 * 1024;
/// Longest name of a tool, in bytes.
pub const CALL_NAME_MAX_BYTES: usize = 256;
/// Most reasoning kept of an answer, in bytes.
pub const REASONING_MAX_BYTES: usize = 1024 * 1024;
/// Largest event of a stream, in bytes; a server may send a whole answer as one.
pub const EVENT_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Largest answer on the wire, in bytes.
pub const RESPONSE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// How much of an error's body is read, in bytes.
pub const ERROR_BODY_MAX_BYTES: usize = 64 * 1024;
/// Largest answer of an embedding endpoint, in bytes.
pub const EMBEDDING_RESPONSE_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Fails when `size` is beyond a bound.
pub(crate) fn check(limit: &'static str, size: usize, max: usize) -> Result<(), ModelError> {
    if size > max { Err(ModelError::Limit { limit, max }) } else { Ok(()) }
}
