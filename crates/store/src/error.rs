//! The errors of the database, by what the caller can do about them.

use protocol::error::UnavailableReason;

use crate::distress;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such row in this scope. A foreign tenant's row is the same.
    #[error("there is no such row in this scope")]
    NotFound,
    /// No event of the run has this number yet.
    #[error("the cursor is beyond the last event")]
    CursorBeyondEnd,
    /// The run has ended; nothing more can be decided about it.
    #[error("the run has already finished")]
    RunAlreadyFinished,
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used with another request")]
    IdempotencyMismatch,
    /// The session has a run that has not ended, and the new one must not wait.
    #[error("the session has a run that has not ended")]
    SessionBusy,
    /// The organisation has reached its limit of runs in the queue.
    #[error("the organisation has too many runs in the queue")]
    QueueFull,
    /// The organisation asks for more than its share of the database at once: fewer requests help.
    #[error("the organisation asks for more of the database at once than its share")]
    OrgBusy,
    /// A statement reached its time limit: it asks for much, or the machine is busy.
    #[error("the database did not finish a statement in time")]
    TooSlow(#[source] sqlx::Error),
    /// The data cannot be kept as it is (PostgreSQL classes 22 and 54).
    #[error("the database cannot keep this value")]
    Unstorable(#[source] sqlx::Error),
    /// The database is away or overloaded: try again later.
    #[error("{}", distress::reason_of(.0).map_or("the database does not answer", |_| "the database does no work"))]
    Unavailable(#[source] sqlx::Error),
    /// A defect of this program.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// A stored value is not what this version writes.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(String),
}

impl StoreError {
    /// Why the database refuses work, if it says so itself.
    pub fn reason(&self) -> Option<UnavailableReason> {
        match self {
            Self::Unavailable(error) => distress::reason_of(error),
            Self::NotFound
            | Self::CursorBeyondEnd
            | Self::RunAlreadyFinished
            | Self::IdempotencyMismatch
            | Self::SessionBusy
            | Self::QueueFull
            | Self::OrgBusy
            | Self::TooSlow(_)
            | Self::Unstorable(_)
            | Self::Database(_)
            | Self::Unreadable(_) => None,
        }
    }

    /// The error for a stored value that cannot be read.
    pub(crate) fn unreadable(cause: impl std::fmt::Display) -> Self {
        Self::Unreadable(cause.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if distress::note(&error).is_some() {
            return Self::Unavailable(error);
        }
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(answer) => {
                match answer.code().as_deref().and_then(|code| code.get(..2)) {
                    // `query_canceled`: nobody but our own limit cancels.
                    Some("57") if answer.code().as_deref() == Some("57014") => Self::TooSlow(error),
                    Some("22" | "54") => Self::Unstorable(error),
                    // Connection lost, rollback asked for, operator at work.
                    Some("08" | "40" | "57" | "58") => Self::Unavailable(error),
                    _ if answer.code().as_deref() == Some("55P03") => Self::Unavailable(error),
                    _ => Self::Database(error),
                }
            }
            _ => Self::Database(error),
        }
    }
}
