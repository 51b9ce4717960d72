//! The invariants, checked after every scenario against the database, the calls that really reached the
//! tool servers, and the requests to the model. A check reports what is wrong, never what is right.

mod effects;
mod memories;
mod model;
pub(crate) mod recovery;
mod rows;

use std::{collections::HashMap, fs, iter::once, time::Duration};

use anyhow::Result;
use protocol::id::RunId;
use serde_json::Value;
use sqlx::{PgPool, Row, types::Json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    client::{Acked, PersistentClient},
    cluster::{LogEntry, Loss, Nodes},
    load::wait_for_ends,
    world::World,
};

use self::{recovery::Recovery, rows::MayEnd};

/// The check that a scenario really caused what it is meant to cause.
pub(crate) const SOMETIMES: &str = "sometimes";
/// A run without progress for this long counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// How long the database may take to notice that a node is gone.
const LEAVE_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Violations of one scenario whose events are written to disk.
const EVIDENCE_MAX: usize = 20;

/// What a scenario did, for the judge.
pub(crate) struct Case {
    pub(crate) client: PersistentClient,
    pub(crate) acked: Vec<Acked>,
    /// Other organisations, and what they were acknowledged.
    pub(crate) beside: Vec<(PersistentClient, Vec<Acked>)>,
    /// Runs that may end as cancelled.
    pub(crate) may_cancel: Vec<RunId>,
    /// Runs that may end as failed.
    pub(crate) may_fail: Vec<RunId>,
    /// Workers that were lost, for the time of recovery.
    pub(crate) losses: Vec<Loss>,
    /// How long a worker may go on that lost its lease and was not told.
    pub(crate) may_linger_us: i64,
    /// What the scenario itself saw.
    pub(crate) violations: Vec<Violation>,
    /// What went wrong on purpose, in words.
    pub(crate) faults: String,
    /// How often a stream was taken up again.
    pub(crate) reconnects: u64,
    /// What must have happened, or the scenario has not tested what it is meant to test.
    pub(crate) must_see: Vec<Sight>,
    /// The promised 99th percentile of recovery, in seconds. The short form has few recoveries,
    /// often on a machine that does other work: there the median must not exceed it.
    pub(crate) recovery_max_s: Option<f64>,
}

impl Case {
    /// The result of a client that has not done anything yet.
    pub(crate) fn new(client: PersistentClient) -> Self {
        Self {
            client,
            acked: Vec::new(),
            beside: Vec::new(),
            may_cancel: Vec::new(),
            may_fail: Vec::new(),
            losses: Vec::new(),
            may_linger_us: 0,
            violations: Vec::new(),
            faults: String::new(),
            reconnects: 0,
            must_see: Vec::new(),
            recovery_max_s: None,
        }
    }
}

/// The outcome of one scenario.
pub(crate) struct Verdict {
    pub(crate) scenario: &'static str,
    pub(crate) runs: usize,
    pub(crate) faults: String,
    pub(crate) sights: HashMap<Sight, u64>,
    pub(crate) recovery: Recovery,
    pub(crate) violations: Vec<Violation>,
}

/// A check that failed.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    /// Its id, as in the table of invariants.
    pub(crate) check: &'static str,
    pub(crate) run_id: Option<RunId>,
    pub(crate) detail: String,
}

impl Violation {
    pub(crate) fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, run_id: None, detail: detail.into() }
    }

    pub(crate) fn of(check: &'static str, run_id: RunId, detail: impl Into<String>) -> Self {
        Self { check, run_id: Some(run_id), detail: detail.into() }
    }
}

/// Something that must happen *sometimes*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sight {
    /// A run went on after its worker was lost.
    Takeover,
    /// A run went on after its worker handed it back.
    HandedBack,
    /// A write of a worker that had lost its lease was refused.
    FencedWrite,
    /// A call whose outcome is unknown.
    Unknown,
    /// A stream was taken up again.
    StreamResumed,
}

/// A run's event, as far as a judge reads it.
pub(crate) struct RecordedEvent {
    pub(crate) run_id: RunId,
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) step: Option<i32>,
    pub(crate) kind: String,
    pub(crate) payload: Value,
    /// In microseconds since 1970.
    pub(crate) at_us: i64,
}

impl RecordedEvent {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.payload.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Waits for all runs to end, stops the nodes, and judges what is left.
pub(crate) async fn judge(
    world: &World,
    name: &'static str,
    case: Case,
    nodes: Nodes,
) -> Result<Verdict> {
    let own = (&case.client, &case.acked);
    let tenants: Vec<_> =
        once(own).chain(case.beside.iter().map(|(c, acked)| (c, acked))).collect();
    for (client, _) in &tenants {
        wait_for_ends(&world.pool, &client.org, PATIENCE).await;
    }
    let log = nodes.log_entries()?;
    let count = |is: fn(&LogEntry) -> bool| log.iter().filter(|entry| is(entry)).count() as u64;
    let fenced = count(LogEntry::is_fenced_write);
    let panics = count(LogEntry::is_panic);
    let refused = count(LogEntry::is_refused_state);
    let mut leaks = nodes.stop(&world.marker).await?;
    leaks.extend(left_in_database(&world.pool).await?);
    let mut violations = case.violations;
    let (executions, asked) = (world.executions()?, world.model.journal());
    let may = MayEnd { cancelled: &case.may_cancel, failed: &case.may_fail };
    let mut events = Vec::new();
    for (client, acked) in &tenants {
        let (pool, org) = (&world.pool, &client.org);
        let own = self::events(pool, org).await?;
        violations.extend(rows::check(pool, org, acked, &may).await?);
        violations.extend(effects::check(&own, acked, &executions));
        violations.extend(effects::check_ledger(pool, org, &own).await?);
        violations.extend(memories::check(pool, org, acked, &own).await?);
        violations.extend(model::check(&own, acked, &asked, case.may_linger_us));
        let complaints = client.complaints().into_iter();
        violations.extend(complaints.map(|words| Violation::new("I10", words)));
        events.extend(own);
    }
    violations.extend(leaks.into_iter().map(|leak| Violation::new("I8", leak)));
    if panics > 0 {
        violations.push(Violation::new("I10", format!("{panics} panics in the logs")));
    }
    if refused > 0 {
        let detail = format!("{refused} writes that the database refused, in the logs");
        violations.push(Violation::new("I10", detail));
    }

    let recovery = Recovery::of(&case.losses, &events);
    let (figure, seen_s) =
        world.scale.of(("median", recovery.p50_s), ("99th percentile", recovery.p99_s));
    if let (Some(max_s), Some(seen_s)) = (case.recovery_max_s, seen_s)
        && seen_s > max_s
    {
        let detail = format!("the {figure} of recovery is {seen_s:.2} s, at most {max_s:.2} s");
        violations.push(Violation::new("G7", detail));
    }

    let mut sights = sights(&events);
    sights.insert(Sight::FencedWrite, fenced);
    sights.insert(Sight::StreamResumed, case.reconnects);
    for sight in case.must_see {
        if sights.get(&sight).copied().unwrap_or(0) == 0 {
            violations.push(Violation::new(SOMETIMES, format!("never seen: {sight:?}")));
        }
    }
    keep_evidence(world, name, &violations, &events)?;
    Ok(Verdict {
        scenario: name,
        runs: tenants.iter().map(|(_, acked)| acked.len()).sum(),
        faults: case.faults,
        sights,
        recovery,
        violations,
    })
}

/// Every event of the organisation, run by run in order.
pub(crate) async fn events(pool: &PgPool, org: &str) -> Result<Vec<RecordedEvent>> {
    let rows = sqlx::query(
        "select run_id, seq, epoch, step, type, payload,
                (extract(epoch from ts) * 1e6)::bigint as at_us
         from events where org_id = $1 order by run_id, seq",
    )
    .bind(org)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let Json(payload) = row.try_get("payload")?;
            Ok(RecordedEvent {
                run_id: RunId::from_uuid(row.try_get::<Uuid, _>("run_id")?),
                seq: row.try_get("seq")?,
                epoch: row.try_get("epoch")?,
                step: row.try_get("step")?,
                kind: row.try_get("type")?,
                payload,
                at_us: row.try_get("at_us")?,
            })
        })
        .collect()
}

fn sights(events: &[RecordedEvent]) -> HashMap<Sight, u64> {
    let mut sights = HashMap::new();
    for event in events {
        let sight = match (event.kind.as_str(), event.text("reason"), event.text("outcome")) {
            ("run.resumed", "worker_lost", _) => Sight::Takeover,
            ("run.resumed", "released", _) => Sight::HandedBack,
            ("tool.result", _, "unknown") => Sight::Unknown,
            _ => continue,
        };
        *sights.entry(sight).or_insert(0) += 1;
    }
    sights
}

/// The events of the runs that something is wrong with, a file for each.
fn keep_evidence(
    world: &World,
    name: &str,
    violations: &[Violation],
    events: &[RecordedEvent],
) -> Result<()> {
    for run_id in violations.iter().filter_map(|violation| violation.run_id).take(EVIDENCE_MAX) {
        let lines: String = events
            .iter()
            .filter(|event| event.run_id == run_id)
            .map(|event| {
                let RecordedEvent { seq, epoch, at_us, kind, payload, .. } = event;
                format!("{seq:>4} epoch {epoch} at {at_us} {kind} {payload}\n")
            })
            .collect();
        fs::write(world.folder().join(name).join(format!("{run_id}.events")), lines)?;
    }
    Ok(())
}

/// Sessions and locks of nodes that are gone; the database may take a moment to see that.
async fn left_in_database(pool: &PgPool) -> Result<Option<String>> {
    let began = Instant::now();
    loop {
        let (sessions, locks): (i64, i64) = sqlx::query_as(
            "select (select count(*) from pg_stat_activity where usename = 'openintern'),
                    (select count(*) from pg_locks where locktype = 'advisory')",
        )
        .fetch_one(pool)
        .await?;
        if sessions == 0 && locks == 0 {
            return Ok(None);
        }
        if began.elapsed() > LEAVE_MAX {
            return Ok(Some(format!("{sessions} sessions and {locks} advisory locks are left")));
        }
        sleep(LOOK_EVERY).await;
    }
}
