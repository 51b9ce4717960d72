//! What we keep: every SQL statement of the system, migrations, tenancy, the queue and wake-ups.
//!
//! Tenant rows are reached only through [`Store::scoped`]; what a worker writes goes through
//! [`journal::Journal`], which proves its claim in the same statement. No SQL stands elsewhere.

pub mod connect;
pub mod error;
pub mod events;
pub mod failpoint;
pub mod journal;
pub mod memories;
pub mod nodes;
pub mod notifier;
pub mod presence;
pub mod queue;
mod rows;
pub mod runs;
pub mod scoped;
pub mod sessions;
pub mod stream;

use std::sync::Arc;

use sqlx::PgPool;

use crate::notifier::Notifier;

/// The database, shared by all parts of a process.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    notifier: Arc<Notifier>,
}
