//! Runs, so many in flight at a time, for as long as faults are injected.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Result;
use futures::future::try_join_all;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Acked, PersistentClient},
    model::Task,
};

/// How often the number in flight is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// At least so many runs; more while faults go on.
    pub(crate) runs: usize,
    /// So many at a time.
    pub(crate) in_flight: usize,
    pub(crate) steps: u64,
    pub(crate) words: u64,
    pub(crate) pace_ms: u64,
}

impl Load {
    /// The task of the n-th run.
    pub(crate) fn task(&self, client: &PersistentClient, n: usize) -> Task {
        Task {
            token: format!("{}_{n}", client.org),
            steps: self.steps,
            words: self.words,
            pace_ms: self.pace_ms,
            memories: 0,
        }
    }

    /// Posts as long as `faults` go on, and until there are enough runs; says what the faults came to.
    pub(crate) async fn post_while<T>(
        &self,
        client: &PersistentClient,
        pool: &PgPool,
        faults: impl Future<Output = Result<T>>,
    ) -> Result<(Vec<Acked>, T)> {
        let done = AtomicBool::new(false);
        tokio::try_join!(self.post(client, pool, &done), async {
            let came_to = faults.await;
            done.store(true, Ordering::Relaxed);
            came_to
        })
    }

    async fn post(
        &self,
        client: &PersistentClient,
        pool: &PgPool,
        done: &AtomicBool,
    ) -> Result<Vec<Acked>> {
        let mut acked = Vec::new();
        while acked.len() < self.runs || !done.load(Ordering::Relaxed) {
            // Without an answer nothing more is posted for now.
            let open = open_runs(pool, &client.org).await.unwrap_or(self.in_flight);
            let begin = acked.len();
            let tasks: Vec<_> = (begin..begin + self.in_flight.saturating_sub(open))
                .map(|n| self.task(client, n))
                .collect();
            acked.extend(try_join_all(tasks.iter().map(|task| client.create(task))).await?);
            sleep(LOOK_EVERY).await;
        }
        Ok(acked)
    }
}

/// Waits until no run of the organisation is open, at most so long without one more being done.
pub(crate) async fn wait_for_ends(pool: &PgPool, org: &str, patience: Duration) {
    let mut least = usize::MAX;
    let mut since = Instant::now();
    while since.elapsed() < patience {
        match open_runs(pool, org).await {
            Ok(0) => return,
            Ok(open) if open < least => (least, since) = (open, Instant::now()),
            Ok(_) | Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn open_runs(pool: &PgPool, org: &str) -> Result<usize> {
    let open: i64 = sqlx::query_scalar(
        "select count(*) from runs
         where org_id = $1 and status not in ('completed', 'failed', 'cancelled')",
    )
    .bind(org)
    .fetch_one(pool)
    .await?;
    Ok(usize::try_from(open)?)
}
