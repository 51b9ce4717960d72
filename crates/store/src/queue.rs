//! The queue: claiming runs, keeping their leases, handing them back.
//!
//! A lease is a row's `lease_until`, in database time. A claim raises the run's epoch in the same
//! statement; every later write names that epoch (see `journal`), so a worker that lost its lease
//! cannot write, however late it wakes up. The statements go over all tenants: they are functions
//! of the scheduler's role (`functions/queue.sql`).

use std::{str::FromStr, time::Duration};

use protocol::{
    id::RunId,
    message::Usage,
    name::{AgentId, SessionKey},
    output::ResponseFormat,
    run::{LlmConfig, RunLimits},
    scope::Scope,
    time::{Timestamp, Zone},
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    error::StoreError,
    handle::Store,
    nodes::NODE_SILENT_AFTER,
    notifier::{Subject, Subscription},
    rows::{
        get_format, get_optional_json, get_optional_parsed, get_parsed, get_scope, get_timestamp,
        get_u32, get_u64, get_usage, to_i32,
    },
};

/// A run that lost so many workers since its last completed step may be what they died of. One loss
/// says nothing: a worker holds many runs.
pub const SUSPECT_ATTEMPTS: u32 = 2;
/// Organisations among which a claim gives turns, at least: while no more of them wait, whichever has
/// the least in hand is served first, even by a claim of a single run.
const ORGS_PER_CLAIM_MIN: u32 = 16;
/// Of so many places at work that others leave to an organisation, it leaves one to who comes next.
const PLACES_PER_KEPT: u32 = 8;
/// While runs of more organisations than this wait for the database, another run would only wait with
/// them, and requests behind it.
const ORGS_WAITING_MAX: usize = 32;
/// Most leases that one statement renews: the end of a run waits for it.
const RENEWED_AT_ONCE: usize = 512;

/// A run that this worker may now write to.
#[derive(Debug, Clone)]
pub struct Claim {
    pub scope: Scope,
    pub run_id: RunId,
    /// What its writes must name.
    pub epoch: u64,
    /// The number of its last event.
    pub last_seq: u64,
    /// Workers that were lost with it since its last completed step.
    pub attempts: u32,
    /// What this worker may do with it.
    pub verdict: Verdict,
    /// The last worker lost its lease (it did not hand the run back).
    pub rescued: bool,
    pub session_key: SessionKey,
    /// The agent that does it.
    pub agent_id: AgentId,
    pub input: String,
    /// The model asked for.
    pub llm_config: Option<LlmConfig>,
    /// The bounds asked for.
    pub limits: Option<RunLimits>,
    /// The time zone asked for.
    pub timezone: Option<Zone>,
    /// The schema asked for.
    pub response_format: Option<ResponseFormat>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Time since a worker first took it.
    pub elapsed: Duration,
    pub step_count: u32,
    pub tool_call_count: u32,
    /// What its model calls consumed.
    pub usage: Usage,
    pub cost_usd: f64,
    /// Bytes of its messages and events.
    pub written_bytes: u64,
    /// Its session has earlier runs.
    pub has_turns: bool,
    /// Those before this one: itself or, of a fork, the first of its ancestors.
    pub turns_before: RunId,
    /// The run that it was forked from.
    pub parent_run_id: Option<RunId>,
    /// The last step that it took over from there; 0 for none.
    pub forked_from_step: Option<u32>,
    /// Its input is said behind the steps that it took over, and is not the task before them.
    pub input_follows: bool,
}

/// What a worker may do with a run that it claims, as the claim judges before anything of the run
/// is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Execute,
    /// Execute it, and nothing else until it completes a step: it may be what its last workers died
    /// of.
    ExecuteAlone,
    /// Write that it was cancelled.
    Cancel,
    /// Write that too many workers were lost with it.
    GiveUp,
}

impl FromStr for Verdict {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "execute" => Ok(Self::Execute),
            "execute_alone" => Ok(Self::ExecuteAlone),
            "cancel" => Ok(Self::Cancel),
            "give_up" => Ok(Self::GiveUp),
            _ => Err("it is not a verdict on a run"),
        }
    }
}

/// Names a claim where its rows are renewed or released.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    pub org_id: String,
    pub run_id: RunId,
    pub epoch: u64,
}

/// The outcome of renewing a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    pub run_id: RunId,
    pub epoch: u64,
    /// Whether the run was asked to stop.
    pub cancel_requested: bool,
}

/// How full the queue is, over all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Runs that wait for a worker.
    pub ready: u64,
    /// Runs that a worker holds.
    pub leased: u64,
}

impl Claim {
    /// The lease that this claim stands on.
    pub fn lease(&self) -> Lease {
        Lease {
            org_id: self.scope.org_id.as_str().to_owned(),
            run_id: self.run_id,
            epoch: self.epoch,
        }
    }
}

impl Store {
    /// A bell for runs that became ready.
    pub fn watch_queue(&self) -> Subscription {
        self.notifier.subscribe(Subject::Queue)
    }

    /// A bell for a request to stop this run.
    pub fn watch_cancel(&self, run_id: RunId) -> Subscription {
        self.notifier.subscribe(Subject::Cancel(run_id))
    }

    /// Whether this process has more runs than the database can follow. Those of one organisation,
    /// however many, are its own affair: others have their turn all the same.
    pub fn is_behind(&self) -> bool {
        self.database.places.orgs_with_waiting_runs() > ORGS_WAITING_MAX
    }

    /// Claims up to `most` runs for `node`: first those whose lease ran out, then ready ones. A run
    /// with [`Verdict::ExecuteAlone`] comes alone, and to a node that holds nothing.
    ///
    /// Of the ready ones each organisation gets a turn before any gets its next; an organisation
    /// with runs in hand has had its turns, and gets no more than it may have at once. A run is ready
    /// when it is the first of its session. While many organisations wait, a claim looks at some of
    /// them, behind the one that was served last; fewer than `most` runs come only when no
    /// organisation has more that it may have at once.
    pub async fn claim(
        &self,
        node: Uuid,
        most: u32,
        lease: Duration,
    ) -> Result<Vec<Claim>, StoreError> {
        let query =
            sqlx::query("select * from claim_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
                .bind(node)
                .bind(to_i32(most))
                .bind(lease.as_secs_f64())
                .bind(self.limits.running_per_org.map(to_i32))
                .bind(to_i32(self.limits.attempts_per_run))
                .bind(to_i32(SUSPECT_ATTEMPTS))
                .bind(self.claimed_last.get())
                .bind(to_i32(ORGS_PER_CLAIM_MIN))
                .bind(to_i32(PLACES_PER_KEPT))
                .bind(NODE_SILENT_AFTER.as_secs_f64());
        let rows = self.database.call(query).await?;
        if let Some(row) = rows.first()
            && let Some(org) = row.try_get("served_last")?
        {
            self.claimed_last.set(org);
        }
        rows.iter().map(claim_from).collect()
    }

    /// Extends the leases that are still ours; those that are missing in the result are lost.
    pub async fn renew(
        &self,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Vec<Renewed>, StoreError> {
        let mut renewed = Vec::with_capacity(leases.len());
        for leases in leases.chunks(RENEWED_AT_ONCE) {
            let (orgs, runs, epochs) = columns(leases);
            let query = sqlx::query("select * from renew_leases($1, $2, $3, $4)")
                .bind(orgs)
                .bind(runs)
                .bind(epochs)
                .bind(lease.as_secs_f64());
            for row in self.database.call(query).await? {
                renewed.push(Renewed {
                    run_id: RunId::from_uuid(row.try_get("run_id")?),
                    epoch: get_u64(&row, "epoch")?,
                    cancel_requested: row.try_get("cancel_requested")?,
                });
            }
        }
        Ok(renewed)
    }

    /// Hands runs back: they are ready at once, for any worker, and this counts as no attempt.
    pub async fn release(&self, leases: &[Lease]) -> Result<(), StoreError> {
        let (orgs, runs, epochs) = columns(leases);
        let query =
            sqlx::query("select release_leases($1, $2, $3)").bind(orgs).bind(runs).bind(epochs);
        self.database.call(query).await?;
        self.notifier.wake(Subject::Queue);
        Ok(())
    }

    /// How full the queue is.
    pub async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        let query = sqlx::query("select ready, leased from queue_depth()");
        let row = self.database.call_one(query).await?;
        Ok(QueueDepth { ready: get_u64(&row, "ready")?, leased: get_u64(&row, "leased")? })
    }
}

fn columns(leases: &[Lease]) -> (Vec<&str>, Vec<Uuid>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for lease in leases {
        columns.0.push(lease.org_id.as_str());
        columns.1.push(lease.run_id.uuid());
        columns.2.push(i64::try_from(lease.epoch).unwrap_or(i64::MAX));
    }
    columns
}

fn claim_from(row: &PgRow) -> Result<Claim, StoreError> {
    Ok(Claim {
        scope: get_scope(row)?,
        run_id: RunId::from_uuid(row.try_get("run_id")?),
        epoch: get_u64(row, "epoch")?,
        last_seq: get_u64(row, "last_seq")?,
        attempts: get_u32(row, "attempts")?,
        verdict: get_parsed(row, "verdict")?,
        rescued: row.try_get("rescued")?,
        session_key: get_parsed(row, "session_key")?,
        agent_id: get_parsed(row, "agent_id")?,
        input: row.try_get("input")?,
        llm_config: get_optional_json(row, "llm_config")?,
        limits: get_optional_json(row, "limits")?,
        timezone: get_optional_parsed(row, "timezone")?,
        response_format: get_format(row)?,
        created_at: get_timestamp(row, "created_at")?,
        elapsed: Duration::try_from_secs_f64(row.try_get("elapsed_s")?).unwrap_or_default(),
        step_count: get_u32(row, "step_count")?,
        tool_call_count: get_u32(row, "tool_call_count")?,
        usage: get_usage(row)?,
        cost_usd: row.try_get("cost_usd")?,
        written_bytes: get_u64(row, "written_bytes")?,
        has_turns: row.try_get("has_turns")?,
        turns_before: RunId::from_uuid(row.try_get("turns_before")?),
        parent_run_id: row.try_get::<Option<Uuid>, _>("parent_run_id")?.map(RunId::from_uuid),
        forked_from_step: row.try_get::<Option<i32>, _>("forked_from_step")?.map(i32::unsigned_abs),
        input_follows: row.try_get("input_follows")?,
    })
}
