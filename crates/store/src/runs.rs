//! Runs as their tenant sees them: create, get, cancel. Lists of them are in `run_lists`.

use protocol::{
    event::Fact,
    id::{RunId, SpanId},
    limits::RUN_TEXT_MAX_BYTES,
    name::SessionKey,
    output::OutputJson,
    run::{CreateRun, IfBusy, Run, RunCancelled, RunCreated, RunStatus},
};
use serde::{Deserialize, Serialize};
use sqlx::{
    Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use crate::{
    audit::CreationNote,
    error::StoreError,
    failpoint,
    notifier::Subject,
    rows::{
        get_format, get_json, get_optional_json, get_optional_parsed, get_optional_timestamp,
        get_parsed, get_timestamp, get_u32, get_u64, get_usage, get_word, kept_format,
        storable_json, to_i32,
    },
    scoped::Scoped,
    transaction::Transaction,
};

/// A client's name for a request that it may send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The value of the `Idempotency-Key` header.
    pub key: String,
    /// SHA-256 of what was asked.
    pub request_hash: [u8; 32],
}

/// Why a run was stopped by the one that came after it.
const INTERRUPTED: &str = "interrupted by a newer run of its session";

/// `input` and `output` are cut while they are read, to as many characters as `text_max_bytes`, which
/// may be four times as many bytes; [`run_from`] cuts the rest.
pub(crate) fn run_columns(text_max_bytes: usize) -> String {
    format!(
        "run_id, status, session_key, agent_id, left(input, {text_max_bytes}) as input, \
         octet_length(input)::bigint as input_bytes, left(output, {text_max_bytes}) as output, \
         octet_length(output)::bigint as output_bytes, output_cut, output_is_json, error, created_at, started_at, ended_at, \
         step_count, tool_call_count, last_seq, input_tokens, output_tokens, \
         reasoning_tokens, cached_tokens, cost_usd, model, timezone, parent_run_id, \
         forked_from_step, metadata"
    )
}

impl Scoped {
    /// Puts a run into the queue: durable when this returns. The audit names `by`, if it is given.
    pub async fn create_run(
        &self,
        new: &CreateRun,
        by: Option<&str>,
    ) -> Result<RunCreated, StoreError> {
        if new.if_busy == IfBusy::Interrupt {
            let mut tx = self.begin().await?;
            let (created, stopped) = self.insert_run(&mut tx, None, new, by).await?;
            tx.commit().await?;
            self.ring(&stopped);
            return Ok(created);
        }
        let note = by.map(|by| CreationNote::by(by, self.scope()));
        let creation = self.creation(
            None,
            new,
            kept_format(new.response_format.as_ref())?,
            new.if_busy,
            note,
        )?;
        let row = self.store().database.call_one_for(self.org(), creation).await?;
        let created = self.created(&row)?;
        failpoint::pass("after_create_commit_before_ack");
        self.ring(&[]);
        Ok(created)
    }

    /// Like [`Self::create_run`], once for each key: a repetition returns the first run and `true`.
    pub async fn create_run_once(
        &self,
        new: &CreateRun,
        by: Option<&str>,
        key: &IdempotencyKey,
    ) -> Result<(RunCreated, bool), StoreError> {
        self.once(key, async |tx, run_id| self.insert_run(tx, Some(run_id), new, by).await).await
    }

    /// Creates a run in the way that is given, if the key has created none.
    pub(crate) async fn once<E: From<StoreError>>(
        &self,
        key: &IdempotencyKey,
        create: impl AsyncFnOnce(&mut Transaction, Uuid) -> Result<(RunCreated, Vec<StoppedRun>), E>,
    ) -> Result<(RunCreated, bool), E> {
        let mut tx = self.begin().await?;
        let Some(run_id) = self.take_key(&mut tx, key).await? else {
            let run = self.replayed_run(&mut tx, key).await?;
            let run = run.ok_or_else(|| StoreError::from(sqlx::Error::RowNotFound))?;
            return Ok((run, true));
        };
        let (created, stopped) = create(&mut tx, run_id).await?;
        tx.commit().await?;
        failpoint::pass("after_create_commit_before_ack");
        self.ring(&stopped);
        Ok((created, false))
    }

    /// The id of the run that this request is to create; none if the key has created one.
    async fn take_key(
        &self,
        tx: &mut Transaction,
        key: &IdempotencyKey,
    ) -> Result<Option<Uuid>, StoreError> {
        // A concurrent request with the same key waits here until this transaction has ended.
        let given: Option<Uuid> = sqlx::query_scalar(
            "insert into idempotency_keys (org_id, user_id, project_id, key, request_hash, run_id)
             values ($1, $2, $3, $4, $5, new_id(clock_timestamp()))
             on conflict do nothing
             returning run_id",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(&key.key)
        .bind(key.request_hash.as_slice())
        .fetch_optional(tx)
        .await?;
        failpoint::pass("after_idempotency_insert");
        Ok(given)
    }

    /// The run that this key has created, if it has.
    pub async fn find_run_once(
        &self,
        key: &IdempotencyKey,
    ) -> Result<Option<RunCreated>, StoreError> {
        let mut tx = self.begin().await?;
        let run = self.replayed_run(&mut tx, key).await?;
        tx.commit().await?;
        Ok(run)
    }

    /// The run; of a long output its first [`RUN_TEXT_MAX_BYTES`].
    pub async fn get_run(&self, run_id: RunId) -> Result<Run, StoreError> {
        let columns = run_columns(RUN_TEXT_MAX_BYTES);
        let query = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {columns}, response_format from runs
             where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $4"
        )))
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid());
        let rows = self.read(query).await?;
        let row = rows.first().ok_or(StoreError::NotFound)?;
        Ok(Run { response_format: get_format(row)?, ..run_from(row, RUN_TEXT_MAX_BYTES)? })
    }

    /// Stops a run that has not ended: at once where no worker holds it, soon where one does.
    pub async fn cancel_run(
        &self,
        run_id: RunId,
        by: &str,
        reason: Option<&str>,
    ) -> Result<RunCancelled, StoreError> {
        let mut tx = self.begin().await?;
        let stopped = self.stop_run(&mut tx, run_id, by, reason).await?;
        tx.commit().await?;
        failpoint::pass("after_cancel_commit");
        self.ring(&[stopped]);
        Ok(RunCancelled { run_id, status: stopped.status, cancel_requested: true })
    }

    /// Wakes the tasks that wait for what was just committed: a new run, and runs that were stopped.
    pub(crate) fn ring(&self, stopped: &[StoppedRun]) {
        for StoppedRun { run_id, status } in stopped {
            let subject = match status {
                RunStatus::Running => Subject::Cancel(*run_id),
                RunStatus::Pending
                | RunStatus::Waiting
                | RunStatus::Completed
                | RunStatus::Failed
                | RunStatus::Cancelled => Subject::Run(*run_id),
            };
            self.notifier().wake(subject);
        }
        // A run came, or another of the session waited for one that was stopped.
        self.notifier().wake(Subject::Queue);
    }

    async fn insert_run(
        &self,
        tx: &mut Transaction,
        run_id: Option<Uuid>,
        new: &CreateRun,
        by: Option<&str>,
    ) -> Result<(RunCreated, Vec<StoppedRun>), StoreError> {
        let stopped = match new.if_busy {
            IfBusy::Queue | IfBusy::Reject => Vec::new(),
            IfBusy::Interrupt => self.stop_session(tx, &new.session_key).await?,
        };
        let note = by.map(|by| CreationNote::by(by, self.scope()));
        let row = self
            .creation(run_id, new, kept_format(new.response_format.as_ref())?, new.if_busy, note)?
            .fetch_one(tx)
            .await?;
        Ok((self.created(&row)?, stopped))
    }

    /// The statement that creates a run: `new` has the names of the columns.
    pub(crate) fn creation<'q>(
        &'q self,
        run_id: Option<Uuid>,
        new: &impl Serialize,
        format: Option<String>,
        if_busy: IfBusy,
        note: Option<CreationNote>,
    ) -> Result<Query<'q, Postgres, PgArguments>, StoreError> {
        let audit = note.map(|note| storable_json(&note));
        let most = self.store().limits.queued_per_org.max(1);
        let counted = (!self.store().admission.passes(self.org())).then_some(to_i32(most));
        Ok(sqlx::query(
            "select outcome, created, accepted_at, queued from create_run(
                 p_org => $1, p_user => $2, p_project => $3, p_run => $4, p_new => $5::jsonb,
                 p_reject_busy => $6, p_queued_max => $7, p_audit => $8::jsonb, p_format => $9)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id)
        .bind(storable_json(new)?)
        .bind(if_busy == IfBusy::Reject)
        .bind(counted)
        .bind(audit.transpose()?)
        .bind(format))
    }

    pub(crate) fn created(&self, row: &PgRow) -> Result<RunCreated, StoreError> {
        if let Some(queued) = row.try_get::<Option<i64>, _>("queued")? {
            let queued = u32::try_from(queued).unwrap_or(u32::MAX);
            let most = self.store().limits.queued_per_org;
            self.store().admission.counted(self.org(), queued, most);
        }
        match get_word(row, "outcome")? {
            Creation::Accepted => Ok(RunCreated {
                run_id: RunId::from_uuid(row.try_get("created")?),
                status: RunStatus::Pending,
                created_at: get_timestamp(row, "accepted_at")?,
            }),
            Creation::Busy => Err(StoreError::SessionBusy),
            Creation::Full => Err(StoreError::QueueFull),
        }
    }

    /// Stops every run of a session that has not ended.
    async fn stop_session(
        &self,
        tx: &mut Transaction,
        session_key: &SessionKey,
    ) -> Result<Vec<StoppedRun>, StoreError> {
        // All rows first, in one order: the lock of the session comes after those of its runs.
        let runs: Vec<Uuid> = sqlx::query_scalar(
            "select r.run_id from runs r
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.session_key = $4
               and r.session_key <> ''
               and r.ended_at is null
             order by r.run_id
             for update",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(session_key.as_str())
        .fetch_all(&mut *tx)
        .await?;
        let mut stopped = Vec::with_capacity(runs.len());
        for run in runs {
            let by = self.scope().user_id.as_str();
            let run_id = RunId::from_uuid(run);
            stopped.push(self.stop_run(tx, run_id, by, Some(INTERRUPTED)).await?);
        }
        Ok(stopped)
    }

    async fn stop_run(
        &self,
        tx: &mut Transaction,
        run_id: RunId,
        by: &str,
        reason: Option<&str>,
    ) -> Result<StoppedRun, StoreError> {
        let row = sqlx::query(
            "select status from runs
             where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $4
             for update",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound)?;
        let status: RunStatus = get_word(&row, "status")?;
        let status = match status {
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => {
                return Err(StoreError::RunAlreadyFinished);
            }
            RunStatus::Pending | RunStatus::Waiting => {
                self.end_unheld_run(tx, run_id, by, reason).await?;
                RunStatus::Cancelled
            }
            RunStatus::Running => {
                sqlx::query(
                    "update runs set cancel_requested_by = $5, cancel_reason = $6
                     where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $4
                       and cancel_requested_by is null",
                )
                .bind(self.org())
                .bind(self.user())
                .bind(self.project())
                .bind(run_id.uuid())
                .bind(by)
                .bind(reason)
                .execute(tx)
                .await?;
                RunStatus::Running
            }
        };
        Ok(StoppedRun { run_id, status })
    }

    async fn replayed_run(
        &self,
        tx: &mut Transaction,
        key: &IdempotencyKey,
    ) -> Result<Option<RunCreated>, StoreError> {
        let row = sqlx::query(
            "select k.request_hash, r.run_id, r.created_at
             from idempotency_keys k join runs r using (org_id, user_id, project_id, run_id)
             where k.org_id = $1 and k.user_id = $2 and k.project_id = $3 and k.key = $4",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(&key.key)
        .fetch_optional(tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get::<Vec<u8>, _>("request_hash")? != key.request_hash {
            return Err(StoreError::IdempotencyMismatch);
        }
        Ok(Some(RunCreated {
            run_id: RunId::from_uuid(row.try_get("run_id")?),
            status: RunStatus::Pending,
            created_at: get_timestamp(&row, "created_at")?,
        }))
    }

    /// Ends a run that no worker holds; the caller has its row locked.
    async fn end_unheld_run(
        &self,
        tx: &mut Transaction,
        run_id: RunId,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let fact = Fact::RunCancelled {
            by: by.to_owned(),
            reason: reason.map(str::to_owned),
            stopped: Vec::new(),
            unknown: Vec::new(),
        };
        sqlx::query(
            "with ended as (
                 update runs
                 set status = 'cancelled', ended_at = clock_timestamp(), last_seq = last_seq + 1,
                     cancel_requested_by = $5, cancel_reason = $6
                 where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $4
                 returning org_id, run_id, last_seq, ended_at, epoch, agent_id
             )
             insert into events (org_id, run_id, seq, ts, epoch, agent_id, span_id, type, payload)
             select r.org_id, r.run_id, r.last_seq, r.ended_at, r.epoch, r.agent_id, $7,
                    fact ->> 'type', fact -> 'payload'
             from ended r, (values ($8::jsonb)) as told (fact)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(by)
        .bind(reason)
        .bind(SpanId::derive(run_id, "run").bits())
        .bind(storable_json(&fact)?)
        .execute(&mut *tx)
        .await?;
        sqlx::query("select leave_queue($1, $2, $3, $4)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(run_id.uuid())
            .execute(tx)
            .await?;
        Ok(())
    }
}

/// A run that was asked to stop, and whether it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoppedRun {
    run_id: RunId,
    status: RunStatus,
}

/// The row that `create_run` returns.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Creation {
    Accepted,
    Busy,
    Full,
}

pub(crate) fn run_from(row: &PgRow, text_max_bytes: usize) -> Result<Run, StoreError> {
    let cut = |mut text: String| {
        text.truncate(text.floor_char_boundary(text_max_bytes));
        text
    };
    let output = row.try_get::<Option<String>, _>("output")?.map(cut);
    let output_bytes = row.try_get::<Option<i64>, _>("output_bytes")?.map(i64::unsigned_abs);
    let is_json: bool = row.try_get("output_is_json")?;
    let whole = output.as_deref().filter(|text| output_bytes == Some(text.len() as u64));
    let started_at = get_optional_timestamp(row, "started_at")?;
    let ended_at = get_optional_timestamp(row, "ended_at")?;
    Ok(Run {
        run_id: RunId::from_uuid(row.try_get("run_id")?),
        status: get_word(row, "status")?,
        session_key: get_parsed(row, "session_key")?,
        agent_id: get_parsed(row, "agent_id")?,
        input: cut(row.try_get("input")?),
        input_bytes: get_u64(row, "input_bytes")?,
        output_json: whole.filter(|_| is_json).and_then(OutputJson::of),
        output,
        output_bytes,
        output_cut: row.try_get("output_cut")?,
        error: get_optional_json(row, "error")?,
        created_at: get_timestamp(row, "created_at")?,
        started_at,
        ended_at,
        duration_ms: started_at.zip(ended_at).map(|(start, end)| end.millis_since(start)),
        step_count: get_u32(row, "step_count")?,
        tool_call_count: get_u32(row, "tool_call_count")?,
        event_count: get_u64(row, "last_seq")?,
        usage: get_usage(row)?,
        cost_usd: row.try_get("cost_usd")?,
        model: row.try_get("model")?,
        timezone: get_optional_parsed(row, "timezone")?,
        response_format: None,
        parent_run_id: row.try_get::<Option<Uuid>, _>("parent_run_id")?.map(RunId::from_uuid),
        forked_from_step: row.try_get::<Option<i32>, _>("forked_from_step")?.map(i32::unsigned_abs),
        metadata: get_json(row, "metadata")?,
    })
}
