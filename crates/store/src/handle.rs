//! The handle of the database, which all parts of a process share. Its statements are with their
//! subjects (`runs`, `queue`, `memories`, …); there are none here.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgConnectOptions;

use crate::{
    admission::Admission,
    deltas::DeltaGroups,
    notifier::Notifier,
    settings::{DailyBudget, QueueLimits, Retention},
    transaction::Database,
};

/// The database, shared by all parts of a process.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) database: Database,
    /// Directly to PostgreSQL, past any pooler: for what needs a session (a lock, `LISTEN`).
    pub(crate) direct: PgConnectOptions,
    pub(crate) limits: QueueLimits,
    pub(crate) admission: Arc<Admission>,
    pub(crate) budget: DailyBudget,
    pub(crate) retention: Retention,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) deltas: DeltaGroups,
    pub(crate) claimed_last: Arc<LastServed>,
    pub(crate) remembered_last: Arc<LastServed>,
}

impl Store {
    /// The same database for the execution of runs: their statements wait for their organisation's
    /// turn where those of a request would be refused.
    pub fn for_runs(&self) -> Self {
        let database =
            Database { places: self.database.places.for_runs(), ..self.database.clone() };
        Self { database, ..self.clone() }
    }
}

/// The organisation that was served last: the next turn begins behind it, in the order of names.
#[derive(Debug, Default)]
pub(crate) struct LastServed(Mutex<String>);

impl LastServed {
    pub(crate) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, org: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = org;
    }
}
