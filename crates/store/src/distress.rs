//! The states of a database that answers but refuses work: their names, and what to do about them.
//! The log reports them once a minute, however much fails because of them.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::error::UnavailableReason;

/// How often the log repeats a state.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What was logged last, and when. One for the process, as the log is.
static SAID: Mutex<Option<(UnavailableReason, Instant)>> = Mutex::new(None);

/// The state that an error speaks of (SQLSTATE class 53, and 25006).
pub fn reason_of(error: &sqlx::Error) -> Option<UnavailableReason> {
    let code = error.as_database_error()?.code()?;
    match code.as_ref() {
        "53100" => Some(UnavailableReason::DiskFull),
        "53200" => Some(UnavailableReason::OutOfMemory),
        "53300" => Some(UnavailableReason::TooManyConnections),
        "25006" => Some(UnavailableReason::ReadOnly),
        code if code.starts_with("53") => Some(UnavailableReason::OutOfResources),
        _ => None,
    }
}

/// What to do about a state.
pub const fn hint_of(reason: UnavailableReason) -> &'static str {
    match reason {
        UnavailableReason::DiskFull => {
            "make room on the disk of the database; runs go on by themselves"
        }
        UnavailableReason::OutOfMemory => {
            "give the database's machine more memory, or lower `work_mem` or `max_connections` there"
        }
        UnavailableReason::TooManyConnections => {
            "raise `max_connections` of PostgreSQL, lower `server.database_connections` of the \
             nodes, or put a pooler between"
        }
        UnavailableReason::OutOfResources => "see the log of PostgreSQL for the limit that it met",
        UnavailableReason::ReadOnly => {
            "name the primary in DATABASE_URL, or see why it is read-only: a standby, or \
             `default_transaction_read_only`"
        }
    }
}

/// Finds the state that an error speaks of, and logs it unless it was logged just now.
pub(crate) fn note(error: &sqlx::Error) -> Option<UnavailableReason> {
    let reason = reason_of(error)?;
    let now = Instant::now();
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_none_or(|(last, at)| last != reason || now - at >= SAY_EVERY) {
        *said = Some((reason, now));
        drop(said);
        tracing::error!(
            reason = reason.as_str(),
            error = error as &dyn std::error::Error,
            hint = hint_of(reason),
            "the database does no work"
        );
    }
    Some(reason)
}
