//! Checkpoints of a run, and new runs that are made of one: a fork has the messages and checkpoints of
//! its parent up to a step, as rows of its own, and goes on from there.
//!
//! What a completed step stands on is never written again, so that a run can be forked while it goes on.

use protocol::{
    id::RunId,
    message::Message,
    name::{AgentId, SessionKey},
    page::{Page, PageLimit},
    run::{Checkpoint, ForkRun, IfBusy, LlmConfig, RunCreated, RunLimits},
    time::Zone,
};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    audit::CreationNote,
    error::StoreError,
    events::PAGE_MAX_BYTES,
    failpoint,
    rows::{
        cut_page_at, get_json, get_optional_json, get_optional_parsed, get_parsed, get_timestamp,
        get_u32, kept_format, to_i32,
    },
    runs::IdempotencyKey,
    scoped::Scoped,
    transaction::Transaction,
};

/// Why a run was not forked.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The step was not completed, or its checkpoint is no longer kept.
    #[error("the run has no checkpoint of this step")]
    NoCheckpoint,
    /// There is nothing to go on with: the step gave the answer, and nothing new is said.
    #[error("the step gave the answer")]
    Answered,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ForkError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A row for `create_run`: the fields are named after the columns.
#[derive(Serialize)]
struct ForkRow {
    input: String,
    session_key: SessionKey,
    agent_id: AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    llm_config: Option<LlmConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<RunLimits>,
    timezone: Option<Zone>,
    metadata: Map<String, Value>,
    parent_run_id: Uuid,
    forked_from_step: u32,
    turns_before: Uuid,
    input_follows: bool,
}

impl Scoped {
    /// Puts a run into the queue that goes on behind a step of another. It stands in the session of its
    /// parent, and takes the place there of that run and of what followed it.
    pub async fn fork_run(
        &self,
        parent: RunId,
        fork: &ForkRun,
        by: Option<&str>,
    ) -> Result<RunCreated, ForkError> {
        let mut tx = self.begin().await?;
        let created = self.insert_fork(&mut tx, None, parent, fork, by).await?;
        tx.commit().await?;
        failpoint::pass("after_create_commit_before_ack");
        self.ring(&[]);
        Ok(created)
    }

    /// Like [`Self::fork_run`], once for each key: a repetition returns the first run and `true`.
    pub async fn fork_run_once(
        &self,
        parent: RunId,
        fork: &ForkRun,
        by: Option<&str>,
        key: &IdempotencyKey,
    ) -> Result<(RunCreated, bool), ForkError> {
        self.once(key, async |tx, run_id| {
            Ok((self.insert_fork(tx, Some(run_id), parent, fork, by).await?, Vec::new()))
        })
        .await
    }

    /// Checkpoints of a run after the step `cursor`. A page is also cut at about [`PAGE_MAX_BYTES`].
    pub async fn list_checkpoints(
        &self,
        run_id: RunId,
        cursor: u32,
        limit: PageLimit,
    ) -> Result<Page<Checkpoint>, StoreError> {
        let query = sqlx::query(
            "select c.step, c.agent_id, c.message_count, c.state, c.created_at, c.found_count,
                    coalesce(c.step <= r.forked_from_step, false) as is_taken_over
             from runs r
             left join lateral (
                 select v.*, count(*) over () as found_count,
                        (sum(v.row_bytes) over (order by v.step))::bigint - v.row_bytes
                        as bytes_before
                 from (
                     select step, agent_id, message_count, state, created_at,
                            octet_length(state::text)::bigint as row_bytes
                     from checkpoints
                     where org_id = r.org_id and run_id = r.run_id and step > $5
                     order by step
                     limit $6
                 ) v
             ) c on c.bytes_before < $7
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
             order by c.step",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(to_i32(cursor))
        .bind(i64::from(limit.get()) + 1)
        .bind(PAGE_MAX_BYTES);
        let rows = self.read(query).await?;
        let first = rows.first().ok_or(StoreError::NotFound)?;
        let Some(found) = first.try_get::<Option<i64>, _>("found_count")? else {
            return Ok(Page { items: Vec::new(), next_cursor: None });
        };
        let checkpoints = rows.iter().map(checkpoint).collect::<Result<Vec<_>, _>>()?;
        Ok(cut_page_at(checkpoints, Some(found), limit, |checkpoint| checkpoint.step.to_string()))
    }

    async fn insert_fork(
        &self,
        tx: &mut Transaction,
        run_id: Option<Uuid>,
        parent: RunId,
        fork: &ForkRun,
        by: Option<&str>,
    ) -> Result<RunCreated, ForkError> {
        let row = self.parent_of(tx, parent, fork.from_step).await?;
        let message_count: Option<i32> = row.try_get("message_count")?;
        let last = get_optional_json(&row, "last_message")?;
        let is_answered = matches!(
            last, Some(Message::Assistant { tool_calls, .. }) if tool_calls.is_empty());
        match message_count {
            None if fork.from_step > 0 => return Err(ForkError::NoCheckpoint),
            Some(_) if is_answered && fork.input.is_none() => return Err(ForkError::Answered),
            None | Some(_) => {}
        }
        let new = ForkRow {
            input: fork.input.clone().map_or_else(|| row.try_get::<String, _>("input"), Ok)?,
            session_key: get_parsed(&row, "session_key")?,
            agent_id: fork.agent_id.clone().map_or_else(|| get_parsed(&row, "agent_id"), Ok)?,
            llm_config: match &fork.llm_config {
                Some(config) => Some(config.clone()),
                None => get_optional_json(&row, "llm_config")?,
            },
            limits: get_optional_json(&row, "limits")?,
            timezone: get_optional_parsed(&row, "timezone")?,
            metadata: get_json(&row, "metadata")?,
            parent_run_id: parent.uuid(),
            forked_from_step: fork.from_step,
            turns_before: row.try_get("turns_before")?,
            input_follows: fork.input.is_some() && fork.from_step > 0,
        };
        let format = match &fork.response_format {
            Some(format) => kept_format(Some(format))?,
            None => row.try_get("response_format")?,
        };
        let note = by.map(|by| CreationNote::by(by, self.scope()).from(parent));
        let creation = self.creation(run_id, &new, format, IfBusy::Queue, note)?;
        let created = self.created(&creation.fetch_one(&mut *tx).await?)?;
        if let Some(messages) = message_count {
            self.take_over(tx, parent, created.run_id, fork.from_step, messages).await?;
        }
        Ok(created)
    }

    /// What a fork needs to know of its parent. Its input is what the steps that are taken over were
    /// asked last: that of a fork may have come after them.
    async fn parent_of(
        &self,
        tx: &mut Transaction,
        parent: RunId,
        from_step: u32,
    ) -> Result<PgRow, StoreError> {
        let row = sqlx::query(
            "select r.session_key, r.agent_id, r.llm_config, r.limits, r.timezone, r.metadata,
                    r.response_format,
                    coalesce(r.turns_before, r.run_id) as turns_before, c.message_count,
                    l.message as last_message, coalesce(t.message ->> 'content', r.input) as input
             from runs r
             left join checkpoints c
                 on c.org_id = r.org_id and c.run_id = r.run_id and c.step = $5
             left join run_messages l
                 on l.org_id = r.org_id and l.run_id = r.run_id
                 and l.position = c.message_count - 1
             left join lateral (
                 select message from run_messages
                 where org_id = r.org_id and run_id = r.run_id
                   and position < coalesce(c.message_count, 2) and message ->> 'role' = 'user'
                 order by position desc
                 limit 1
             ) t on true
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(parent.uuid())
        .bind(to_i32(from_step))
        .fetch_optional(tx)
        .await?;
        row.ok_or(StoreError::NotFound)
    }

    /// Gives a new run the first messages of its parent, and the checkpoints of the steps that they are
    /// of. They count for its size.
    async fn take_over(
        &self,
        tx: &mut Transaction,
        parent: RunId,
        run_id: RunId,
        from_step: u32,
        messages: i32,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "with messages as (
                 insert into run_messages (org_id, run_id, position, message)
                 select m.org_id, $5, m.position, m.message
                 from runs r join run_messages m using (org_id, run_id)
                 where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
                   and m.position < $7
                 returning octet_length(message::text) as bytes
             ), steps as (
                 insert into checkpoints (org_id, run_id, step, agent_id, message_count, state,
                                          created_at)
                 select c.org_id, $5, c.step, c.agent_id, c.message_count, c.state, c.created_at
                 from runs r join checkpoints c using (org_id, run_id)
                 where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
                   and c.step <= $6
             )
             update runs
             set written_bytes = (select coalesce(sum(bytes), 0) from messages)
             where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $5",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(parent.uuid())
        .bind(run_id.uuid())
        .bind(to_i32(from_step))
        .bind(messages)
        .execute(tx)
        .await?;
        Ok(())
    }
}

fn checkpoint(row: &PgRow) -> Result<Checkpoint, StoreError> {
    Ok(Checkpoint {
        step: get_u32(row, "step")?,
        agent_id: get_parsed(row, "agent_id")?,
        message_count: get_u32(row, "message_count")?,
        is_taken_over: row.try_get("is_taken_over")?,
        state: get_json(row, "state")?,
        created_at: get_timestamp(row, "created_at")?,
    })
}
