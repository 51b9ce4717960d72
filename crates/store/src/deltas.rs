//! Text of all runs of this process, written together as their models say it: one statement for what
//! has gathered while the one before was under way. So a delta waits for nobody while little is said,
//! and costs the less the more is said. One that is not written here is written by itself (`journal`).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use protocol::scope::Scope;
use serde::Serialize;
use sqlx::Row;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    error::StoreError,
    rows::{get_u64, storable_json},
    transaction::Database,
};

/// Most deltas of one statement; as many more wait in line.
const GROUP_MAX: usize = 512;
/// A longer text is written by itself, so that a statement has 4 MiB at most.
const TEXT_MAX_BYTES: usize = 8 * 1024;

/// Writes deltas of many runs together.
#[derive(Clone, Debug)]
pub(crate) struct DeltaGroups(mpsc::Sender<Waiting>);

/// A delta of a claimed run: the fields are named after the columns.
#[derive(Debug, Serialize)]
pub(crate) struct ClaimedDelta {
    pub(crate) run_id: Uuid,
    /// That of the claim.
    pub(crate) epoch: i64,
    pub(crate) seq: u64,
    pub(crate) n: u64,
    pub(crate) step: u32,
    pub(crate) text: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    scope: Arc<Scope>,
    delta: ClaimedDelta,
    written: oneshot::Sender<bool>,
}

/// Names a delta: its run and its place there.
type DeltaKey = (Uuid, u64, u64);

impl DeltaGroups {
    /// Starts the task that writes; it ends with the last handle.
    pub(crate) fn start(database: Database) -> Self {
        let (sender, waiting) = mpsc::channel(GROUP_MAX);
        tokio::spawn(write_groups(database, waiting));
        Self(sender)
    }

    /// Whether the delta was written. If not, it may be there all the same: the answer was lost then.
    pub(crate) async fn write(&self, scope: Arc<Scope>, delta: ClaimedDelta) -> bool {
        if delta.text.as_ref().is_some_and(|text| text.len() > TEXT_MAX_BYTES) {
            return false;
        }
        let (written, is_written) = oneshot::channel();
        let sent = self.0.send(Waiting { scope, delta, written }).await;
        sent.is_ok() && is_written.await.unwrap_or(false)
    }
}

async fn write_groups(database: Database, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
        // Whoever waits no longer has left its run to another worker, or ends it.
        group.retain(|one: &Waiting| !one.written.is_closed());
        let written = write_group(&database, &group).await.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "deltas were not written together; each is written by itself");
            HashSet::new()
        });
        for Waiting { delta, written: answer, .. } in group.drain(..) {
            answer.send(written.contains(&(delta.run_id, delta.seq, delta.n))).ok();
        }
    }
}

/// Returns which were written.
async fn write_group(
    database: &Database,
    group: &[Waiting],
) -> Result<HashSet<DeltaKey>, StoreError> {
    let mut scopes: HashMap<&Scope, Vec<&ClaimedDelta>> = HashMap::new();
    for one in group {
        scopes.entry(&*one.scope).or_default().push(&one.delta);
    }
    let rows: Vec<_> =
        scopes.into_iter().map(|(scope, deltas)| ScopeRow::of(scope, deltas)).collect();
    let query = sqlx::query("select run_id, seq, n from commit_deltas(p_scopes => $1::jsonb)")
        .bind(storable_json(&rows)?);
    let rows = database.call(query).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("run_id")?, get_u64(row, "seq")?, get_u64(row, "n")?)))
        .collect()
}

/// The row of `commit_deltas`: the fields are named after the columns.
#[derive(Serialize)]
struct ScopeRow<'a> {
    org_id: &'a str,
    user_id: &'a str,
    project_id: &'a str,
    deltas: Vec<&'a ClaimedDelta>,
}

impl<'a> ScopeRow<'a> {
    fn of(scope: &'a Scope, deltas: Vec<&'a ClaimedDelta>) -> Self {
        Self {
            org_id: scope.org_id.as_str(),
            user_id: scope.user_id.as_str(),
            project_id: scope.project_key(),
            deltas,
        }
    }
}
