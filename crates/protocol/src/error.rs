//! How an error reads: `{"error":{"code","message","hint?","details?","request_id"}}`.

use serde::{Deserialize, Serialize};

/// Why a request was refused. The name is the contract; the status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request is malformed; `details` name the field.
    ValidationError,
    /// 400: neither header, body nor query names an organisation and a user.
    ScopeRequired,
    /// 400: two sources name different scopes.
    ScopeConflict,
    /// 401: no credential, or a bad one.
    Unauthorized,
    /// 403: the credential lacks a right.
    Forbidden,
    /// 403: the request names a scope wider than its credential's.
    ScopeMismatch,
    /// 404: no such row in this scope, or no such path.
    NotFound,
    /// 405: the path exists, but does not support the method.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 409: the run has ended.
    RunAlreadyFinished,
    /// 409: the state of the row forbids it.
    Conflict,
    /// 413: the body is over its limit.
    PayloadTooLarge,
    /// 414: the path and query are over their limit.
    UriTooLong,
    /// 415: the content type or encoding is not understood.
    UnsupportedMediaType,
    /// 421: the `Host` is not a name of this server.
    MisdirectedRequest,
    /// 422: the idempotency key was used with another body.
    IdempotencyMismatch,
    /// 429: too many requests in a short time.
    RateLimited,
    /// 429: a quota of the organisation is used up.
    QuotaExceeded,
    /// 431: the headers are over their limit.
    HeadersTooLarge,
    /// 500: a defect of the server.
    Internal,
    /// 503: the database does not answer, or the server is overloaded.
    Unavailable,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError | Self::ScopeRequired | Self::ScopeConflict => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::ScopeMismatch => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::RunAlreadyFinished | Self::Conflict => 409,
            Self::PayloadTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::MisdirectedRequest => 421,
            Self::IdempotencyMismatch => 422,
            Self::RateLimited | Self::QuotaExceeded => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// Why the database refuses work, if it says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnavailableReason {
    /// Its disk is full.
    DiskFull,
    /// It has no memory left.
    OutOfMemory,
    /// It accepts no more connections.
    TooManyConnections,
    /// It reached another limit of its machine.
    OutOfResources,
    /// It accepts no writes: it is a standby, or set to be read-only.
    ReadOnly,
}

impl UnavailableReason {
    /// The reason as the API and the log write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::OutOfMemory => "out_of_memory",
            Self::TooManyConnections => "too_many_connections",
            Self::OutOfResources => "out_of_resources",
            Self::ReadOnly => "read_only",
        }
    }
}

impl std::fmt::Display for UnavailableReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of every error response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorDetail {
    /// The code to act on.
    pub code: ErrorCode,
    /// A sentence for a person.
    pub message: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// With `unavailable`: the reason, if the database says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<UnavailableReason>,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<FieldError>,
    /// The id of this request in the server's log.
    pub request_id: String,
}

/// One field of a request that is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where: a JSON pointer into the body, or the name of a header or query parameter.
    #[schema(example = "/input")]
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// Names a field and its fault.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
