//! What stops the work on a run: signals from outside, and the reasons from within.

use protocol::run::{RunError, RunErrorCode};
use store::{error::StoreError, journal::JournalError};
use tokio_util::sync::CancellationToken;

/// What stops a run from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunSignals {
    /// The lease is lost or the process ends: stop at once and write nothing more.
    pub(crate) abandon: CancellationToken,
    /// The run was asked to stop.
    pub(crate) cancel: CancellationToken,
    /// It has completed a step here, so it does not kill every worker that opens it.
    pub(crate) proven: CancellationToken,
}

/// How a worker's execution of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunExit {
    /// The run has ended.
    Ended,
    /// Another worker may go on with it: the lease was lost, or is to be handed back.
    Abandoned,
    /// It could not be opened, or its end could not be written. Its lease is left to run out, so
    /// that this counts as an attempt, and the next one does not follow at once.
    LeftToExpire,
}

/// Why a run cannot go on.
#[derive(Debug)]
pub(super) enum StopReason {
    /// It failed, with this error.
    Fail(RunError),
    /// It was asked to stop.
    Cancelled,
    /// Another worker is to go on with it.
    Abandon(AbandonReason),
    /// Its end is written.
    Ended,
}

/// Why a worker leaves a run that has not ended. Its name is the field `reason` of the log and the
/// label of `openintern_runs_abandoned_total`, so that nobody has to parse a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AbandonReason {
    /// The database refused a write: another worker has claimed the run since.
    LeaseLost,
    /// The database does not answer.
    DatabaseUnavailable,
    /// The end of the run could not be written.
    EndNotWritten,
}

impl AbandonReason {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseLost => "lease_lost",
            Self::DatabaseUnavailable => "database_unavailable",
            Self::EndNotWritten => "end_not_written",
        }
    }

    /// Why an end could not be written.
    pub(super) const fn of_end(error: &JournalError) -> Self {
        match error {
            JournalError::LeaseLost => Self::LeaseLost,
            JournalError::Store(
                StoreError::Unavailable(_) | StoreError::TooSlow(_) | StoreError::OrgBusy,
            ) => Self::DatabaseUnavailable,
            JournalError::Store(_) | JournalError::CancelRequested => Self::EndNotWritten,
        }
    }
}

impl StopReason {
    pub(super) fn fail(code: RunErrorCode, message: impl Into<String>) -> Self {
        Self::Fail(RunError { code, message: message.into() })
    }
}

impl From<JournalError> for StopReason {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::LeaseLost => Self::Abandon(AbandonReason::LeaseLost),
            JournalError::CancelRequested => Self::Cancelled,
            JournalError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for StopReason {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OrgBusy => Self::Abandon(AbandonReason::DatabaseUnavailable),
            StoreError::Unavailable(cause) | StoreError::TooSlow(cause) => {
                tracing::debug!(error = &cause as &dyn std::error::Error, "the database is away");
                Self::Abandon(AbandonReason::DatabaseUnavailable)
            }
            other => {
                tracing::error!(
                    reason = "state_refused",
                    error = &other as &dyn std::error::Error,
                    "the database refused what a run wrote or read"
                );
                Self::fail(RunErrorCode::Internal, "the run's state could not be written or read")
            }
        }
    }
}
