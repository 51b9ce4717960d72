//! Who is alive: a worker holds an advisory lock on a connection of its own for as long as it is.
//!
//! The lock goes with the connection, and that with the process: its death is noticed within a
//! fraction of a second, where its leases alone would take until they run out. A worker that loses
//! the connection is taken for dead: it must let go of its runs and come back under another name.
//! None of this is needed for safety; that is the epoch's (see `journal`).

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use crate::{error::StoreError, handle::Store, notifier::Subject, rows::get_u64};

/// The first key of all our locks: no other program on this database should use it.
pub(crate) const LOCK_CLASS: i32 = 0x6f69_6e74;
/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look may take before the connection counts as lost.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// The proof that a worker is alive.
#[derive(Debug)]
pub struct Presence {
    node_id: Uuid,
    connection: PgConnection,
}

impl Store {
    /// Comes in under a new name.
    pub async fn enter(&self) -> Result<Presence, StoreError> {
        let mut connection = PgConnection::connect_with(&self.direct).await?;
        loop {
            let node_id = Uuid::now_v7();
            // Two names may share their last 32 bits; the second of them takes another.
            let free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
                .bind(LOCK_CLASS)
                .bind(lock_key(node_id))
                .fetch_one(&mut connection)
                .await?;
            if free {
                return Ok(Presence { node_id, connection });
            }
        }
    }

    /// Ends the leases of workers that are gone, so that others may claim their runs at once, and
    /// says how many. `own` is the caller's name, whose leases stay. Rings this process's bell when
    /// any lease has run out, of whichever worker.
    pub async fn expire_lost(&self, own: Uuid) -> Result<u64, StoreError> {
        let query = sqlx::query("select ended, any_expired from expire_lost_leases($1, $2)")
            .bind(own)
            .bind(LOCK_CLASS);
        let row = self.database.call_one(query).await?;
        let ended = get_u64(&row, "ended")?;
        if ended > 0 || row.try_get("any_expired")? {
            self.notifier.wake_here(Subject::Queue);
        }
        Ok(ended)
    }
}

impl Presence {
    /// The name that claims are made under.
    pub fn node_id(&self) -> Uuid {
        self.node_id
    }

    /// Returns when the connection is lost: others now take this worker for dead.
    pub async fn lost(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match tokio::time::timeout(LOOK_TIMEOUT, self.connection.ping()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Goes, with nothing in hand.
    pub async fn leave(self) {
        self.connection.close().await.ok();
    }
}

/// The second key of a worker's lock: the last 32 bits of its name, which are random.
fn lock_key(node_id: Uuid) -> i32 {
    let [.., a, b, c, d] = *node_id.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}
