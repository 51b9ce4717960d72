//! The database: every SQL statement of the system, migrations, tenancy, the queue and wake-ups.
//!
//! Tenant rows are reached only through [`Store::scoped`]; what a worker writes goes through
//! [`journal::Journal`], which proves its claim in the same statement. No other crate contains SQL.

mod admission;
pub mod audit;
pub mod breakers;
pub mod budgets;
pub mod connect;
pub mod contexts;
mod deltas;
pub mod distress;
pub mod error;
pub mod events;
pub mod failpoint;
pub mod forks;
mod handle;
mod held_connection;
pub mod homes;
pub mod journal;
pub mod keys;
pub mod lessons;
pub mod logins;
pub mod many;
pub mod memories;
pub mod nodes;
pub mod notifier;
mod places;
pub mod presence;
pub mod provider_turns;
pub mod queue;
mod rows;
pub mod run_lists;
pub mod runs;
pub mod scoped;
pub mod sessions;
pub mod settings;
pub mod stream;
mod tenancy;
pub mod trace;
mod transaction;
pub mod usage;

pub use handle::Store;
