//! The error of a handler. `middleware::request_guard`, which knows the request's id, writes its JSON.

use std::{error::Error, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use protocol::error::{ErrorBody, ErrorCode, ErrorDetail, FieldError, UnavailableReason};
use store::error::StoreError;
use workspaces::{quota::OverQuota, size::Excess};

use crate::limits::{FIELD_WORDS_MAX_CHARS, RETRY_AFTER_S};

/// What went wrong, in words for the caller, and its cause, in words for our log.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: String,
    /// What the caller can do about it.
    hint: Option<String>,
    /// Why the database does no work, where it says so itself.
    reason: Option<UnavailableReason>,
    details: Vec<FieldError>,
    /// Seconds to wait, where waiting helps.
    retry_after_s: u64,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            reason: None,
            details: Vec::new(),
            retry_after_s: RETRY_AFTER_S,
            cause: None,
        }
    }

    /// 400, and the fields at fault.
    pub(crate) fn invalid(mut details: Vec<FieldError>) -> Self {
        for FieldError { field, message } in &mut details {
            shorten(field);
            shorten(message);
        }
        let message = match details.as_slice() {
            // Some messages name their subject themselves.
            [only] if only.field.is_empty() || only.message.starts_with('`') => {
                only.message.clone()
            }
            [only] => format!("`{}` {}", only.field, only.message),
            _ => "several fields are not valid".to_owned(),
        };
        Self { details, ..Self::new(ErrorCode::ValidationError, message) }
    }

    /// 400 for one field: a JSON pointer, or the name of a header or query parameter.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }

    /// 401, the same words whatever is wrong with the credential, or if there is none.
    pub(crate) fn unauthorized() -> Self {
        Self::new(ErrorCode::Unauthorized, "a valid credential is needed")
            .hint("send `Authorization: Bearer` with an API key or token")
    }

    /// 404, the same words for a row that is absent and one that is another tenant's.
    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "there is nothing here for this scope")
    }

    /// 500; the cause goes to the log only.
    pub(crate) fn defect(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::internal().because(cause.into())
    }

    /// 500 without a cause: it was logged where it happened.
    pub(crate) fn internal() -> Self {
        Self::new(ErrorCode::Internal, "something went wrong on our side")
    }

    /// 429: the caller may try again after this time.
    pub(crate) fn too_fast(words: &str, wait: Duration) -> Self {
        Self::new(ErrorCode::RateLimited, words)
            .hint("wait as long as `Retry-After` says")
            .until(wait)
    }

    /// 503: the caller may try again.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// Says what the caller can do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn reason(&self) -> Option<UnavailableReason> {
        self.reason
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// The cause, for the log and not for the caller.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.cause.as_deref()
    }

    /// The error as the caller reads it.
    pub(crate) fn into_body(self, request_id: String) -> ErrorBody {
        let Self { code, message, hint, reason, details, retry_after_s: _, cause: _ } = self;
        ErrorBody { error: ErrorDetail { code, message, hint, reason, details, request_id } }
    }

    /// Whole seconds, rounded up, so that waiting that long is enough.
    fn until(mut self, wait: Duration) -> Self {
        let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after_s = wait_s.max(RETRY_AFTER_S);
        self
    }

    fn because(mut self, cause: Box<dyn Error + Send + Sync>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

fn shorten(words: &mut String) {
    if let Some((end, _)) = words.char_indices().nth(FIELD_WORDS_MAX_CHARS) {
        words.truncate(end);
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Arc::new(error).into()
    }
}

/// The same error, for each of the requests that shared one read.
impl From<Arc<StoreError>> for ApiError {
    fn from(error: Arc<StoreError>) -> Self {
        match &*error {
            StoreError::NotFound => Self::not_found(),
            StoreError::CursorBeyondEnd => Self::field("cursor", "is beyond the last event"),
            StoreError::RunAlreadyFinished => {
                Self::new(ErrorCode::RunAlreadyFinished, "the run has already finished")
            }
            StoreError::IdempotencyMismatch => Self::new(
                ErrorCode::IdempotencyMismatch,
                "the idempotency key was used with another request",
            )
            .hint("use a fresh key"),
            StoreError::SessionBusy => {
                Self::new(ErrorCode::Conflict, "the session has a run that has not ended")
                    .hint("wait for it, or ask for `if_busy: queue`")
            }
            StoreError::QueueFull => Self::new(
                ErrorCode::QuotaExceeded,
                "the organisation has reached its limit of runs in the queue",
            )
            .hint("try again when some have ended"),
            StoreError::OrgBusy => Self::new(
                ErrorCode::RateLimited,
                "the organisation has reached its share of requests at once",
            )
            .hint("send fewer requests at a time"),
            StoreError::TooSlow(_) => {
                Self::new(ErrorCode::RateLimited, "the database did not finish this in time")
                    .hint("ask for less at a time, and try again")
                    .because(error.into())
            }
            StoreError::Unstorable(_) => {
                Self::field("", "a value cannot be stored").because(error.into())
            }
            StoreError::Unavailable(_) => Self {
                reason: error.reason(),
                ..Self::unavailable(match error.reason() {
                    None => "the database does not answer",
                    Some(_) => "the database cannot do this at the moment",
                })
                .hint("try again")
                .because(error.into())
            },
            StoreError::Database(_) | StoreError::Unreadable(_) => Self::defect(error),
        }
    }
}

impl From<OverQuota> for ApiError {
    fn from(over: OverQuota) -> Self {
        let way = match over.excess {
            Excess::Bytes { .. } => "remove files, or raise `limits.workspace_bytes_per_org`",
            Excess::Entries { .. } | Excess::Depth => "remove some",
        };
        Self::new(ErrorCode::QuotaExceeded, over.to_string())
            .hint(format!("{way}; it is measured again after `Retry-After`"))
            .until(over.again_in)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(self.code.status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response();
        if matches!(
            self.code,
            ErrorCode::Unavailable | ErrorCode::RateLimited | ErrorCode::QuotaExceeded
        ) {
            let wait = HeaderValue::from(self.retry_after_s);
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        if self.code == ErrorCode::Unauthorized {
            const BEARER: HeaderValue = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, BEARER);
        }
        response.extensions_mut().insert(self);
        response
    }
}
