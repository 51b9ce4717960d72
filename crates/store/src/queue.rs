//! The queue: claiming runs, keeping their leases, handing them back.
//!
//! A lease is a row's `lease_until`, in database time. Who claims a run raises its epoch in the same
//! statement; every later write names that epoch (see `journal`), so an owner that lost its lease
//! cannot write, however late it wakes up.

use std::time::Duration;

use protocol::{
    id::RunId,
    message::Usage,
    name::{AgentId, SessionKey},
    run::{LlmConfig, RunLimits},
    scope::Scope,
    time::Timestamp,
};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Store,
    error::StoreError,
    notifier::{Subject, Subscription},
    rows::{count, optional_json, parsed, timestamp, total, usage_from},
};

/// A run that this worker may now write to.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose it is.
    pub scope: Scope,
    /// The run.
    pub run_id: RunId,
    /// What its writes must name.
    pub epoch: u64,
    /// The number of its last event.
    pub last_seq: u64,
    /// Claims after a lost lease since the last completed step, this one included.
    pub attempts: u32,
    /// The last worker lost its lease (it did not hand the run back).
    pub rescued: bool,
    /// Its conversation.
    pub session_key: SessionKey,
    /// The agent that does it.
    pub agent_id: AgentId,
    /// The task.
    pub input: String,
    /// The model asked for.
    pub llm_config: Option<LlmConfig>,
    /// The bounds asked for.
    pub limits: Option<RunLimits>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Time since a worker first took it.
    pub elapsed: Duration,
    /// Steps completed.
    pub step_count: u32,
    /// Tool calls made.
    pub tool_call_count: u32,
    /// What its model calls consumed.
    pub usage: Usage,
    /// What they cost.
    pub cost_usd: f64,
    /// Somebody asked it to stop.
    pub cancel_requested: bool,
}

/// Names a claim where its rows are renewed or released.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The tenant.
    pub org_id: String,
    /// The run.
    pub run_id: RunId,
    /// The claim.
    pub epoch: u64,
}

/// What became of a lease at its renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The run.
    pub run_id: RunId,
    /// The claim.
    pub epoch: u64,
    /// Somebody asked the run to stop.
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

    /// Claims up to `most` runs for `node`: first those whose lease ran out, then ready ones.
    ///
    /// Of the ready ones each organisation gets a turn before any gets its next; an organisation
    /// with runs in hand has had its turns. A run is ready when no other of its session is being
    /// worked on, and none that was created before it waits.
    pub async fn claim(
        &self,
        node: Uuid,
        most: u32,
        lease: Duration,
    ) -> Result<Vec<Claim>, StoreError> {
        // The run's row is locked together with the queue's, in one order and without waiting, so
        // that a claim never deadlocks with the end of a run.
        let rows = sqlx::query(
            "with recursive expired as (
                 select q.org_id, q.run_id
                 from queue q join runs r using (org_id, run_id)
                 where q.lease_until < clock_timestamp()
                 order by q.lease_until
                 limit $1
                 for update of q, r skip locked
             ), orgs as (
                 (select org_id from queue
                  where lease_until is null and available_at <= clock_timestamp()
                  order by org_id
                  limit 1)
                 union all
                 select (select q.org_id from queue q
                         where q.lease_until is null and q.available_at <= clock_timestamp()
                           and q.org_id > o.org_id
                         order by q.org_id
                         limit 1)
                 from orgs o where o.org_id is not null
             ), held as (
                 select org_id, count(*) as runs from queue
                 where lease_until >= clock_timestamp()
                 group by org_id
             ), waiting as (
                 select c.org_id, c.run_id, c.available_at,
                        coalesce(h.runs, 0) + row_number() over (
                            partition by c.org_id order by c.available_at, c.run_id) as turn
                 from orgs o
                 cross join lateral (
                     select q.org_id, q.run_id, q.available_at
                     from queue q
                     where q.org_id = o.org_id and q.lease_until is null
                       and q.available_at <= clock_timestamp()
                       and not exists (
                           select from queue e
                           where e.org_id = q.org_id and e.user_id = q.user_id
                             and e.project_id = q.project_id and e.session_key = q.session_key
                             and e.session_key <> '' and e.run_id <> q.run_id
                             and (e.run_id < q.run_id or e.lease_until is not null))
                     order by q.available_at
                     limit $1
                 ) c
                 left join held h on h.org_id = c.org_id
             ), ready as (
                 select q.org_id, q.run_id
                 from waiting w join queue q using (org_id, run_id)
                 where q.lease_until is null
                 order by w.turn, w.available_at
                 limit $1 - (select count(*) from expired)
                 for update of q skip locked
             ), taken as (
                 update queue q
                 set lease_owner = $2, epoch = q.epoch + 1,
                     lease_until = clock_timestamp() + make_interval(secs => $3)
                 from (select *, true as rescued from expired
                       union all select *, false from ready) c
                 where q.org_id = c.org_id and q.run_id = c.run_id
                 returning q.org_id, q.run_id, c.rescued
             )
             update runs r
             set status = 'running', epoch = r.epoch + 1,
                 attempts = r.attempts + t.rescued::int,
                 started_at = coalesce(r.started_at, clock_timestamp())
             from taken t
             where r.org_id = t.org_id and r.run_id = t.run_id
             returning r.*, t.rescued,
                 extract(epoch from clock_timestamp() - r.started_at)::float8 as elapsed_s",
        )
        .bind(i64::from(most))
        .bind(node)
        .bind(lease.as_secs_f64())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(claim_from).collect()
    }

    /// Extends the leases that are still ours; those that are missing in the answer are lost.
    pub async fn renew(
        &self,
        leases: &[Lease],
        lease: Duration,
    ) -> Result<Vec<Renewed>, StoreError> {
        let (orgs, runs, epochs) = columns(leases);
        let rows = sqlx::query(
            "update queue q
             set lease_until = clock_timestamp() + make_interval(secs => $4)
             from unnest($1::text[], $2::uuid[], $3::bigint[]) as l(org_id, run_id, epoch)
             join runs r using (org_id, run_id)
             where q.org_id = l.org_id and q.run_id = l.run_id and q.epoch = l.epoch
               and q.lease_until is not null
             returning q.run_id, q.epoch, r.cancel_requested_by is not null as cancel_requested",
        )
        .bind(orgs)
        .bind(runs)
        .bind(epochs)
        .bind(lease.as_secs_f64())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Renewed {
                    run_id: RunId::from_uuid(row.try_get("run_id")?),
                    epoch: total(row, "epoch")?,
                    cancel_requested: row.try_get("cancel_requested")?,
                })
            })
            .collect()
    }

    /// Hands runs back: they are ready at once, for any worker, and this counts as no attempt.
    pub async fn release(&self, leases: &[Lease]) -> Result<(), StoreError> {
        let (orgs, runs, epochs) = columns(leases);
        sqlx::query(
            "update queue q
             set lease_until = null, lease_owner = null, available_at = clock_timestamp()
             from unnest($1::text[], $2::uuid[], $3::bigint[]) as l(org_id, run_id, epoch)
             where q.org_id = l.org_id and q.run_id = l.run_id and q.epoch = l.epoch",
        )
        .bind(orgs)
        .bind(runs)
        .bind(epochs)
        .execute(&self.pool)
        .await?;
        self.notifier.wake(Subject::Queue);
        Ok(())
    }

    /// Whether somebody asked a run to stop.
    pub async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "select cancel_requested_by is not null from runs where org_id = $1 and run_id = $2",
        )
        .bind(&lease.org_id)
        .bind(lease.run_id.uuid())
        .fetch_optional(&self.pool)
        .await?
        .unwrap_or(false))
    }

    /// How full the queue is.
    pub async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        let row = sqlx::query(
            "select count(*) filter (where lease_until is null) as ready,
                    count(*) filter (where lease_until is not null) as leased
             from queue",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(QueueDepth { ready: total(&row, "ready")?, leased: total(&row, "leased")? })
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
    let project: String = row.try_get("project_id")?;
    Ok(Claim {
        scope: Scope {
            org_id: parsed(row.try_get("org_id")?)?,
            user_id: parsed(row.try_get("user_id")?)?,
            project_id: if project.is_empty() { None } else { Some(parsed(project)?) },
        },
        run_id: RunId::from_uuid(row.try_get("run_id")?),
        epoch: total(row, "epoch")?,
        last_seq: total(row, "last_seq")?,
        attempts: count(row, "attempts")?,
        rescued: row.try_get("rescued")?,
        session_key: parsed(row.try_get("session_key")?)?,
        agent_id: parsed(row.try_get("agent_id")?)?,
        input: row.try_get("input")?,
        llm_config: optional_json(row, "llm_config")?,
        limits: optional_json(row, "limits")?,
        created_at: timestamp(row, "created_at")?,
        elapsed: Duration::try_from_secs_f64(row.try_get("elapsed_s")?).unwrap_or_default(),
        step_count: count(row, "step_count")?,
        tool_call_count: count(row, "tool_call_count")?,
        usage: usage_from(row)?,
        cost_usd: row.try_get("cost_usd")?,
        cancel_requested: row.try_get::<Option<String>, _>("cancel_requested_by")?.is_some(),
    })
}
