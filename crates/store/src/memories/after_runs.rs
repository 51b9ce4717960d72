//! Completed runs that are to be remembered: taking them, writing their memories, dropping those that
//! wait too long. What is worth remembering is not known here.
//!
//! A run is noted by the statement that commits its end (see `journal`). Its note is deleted in the
//! transaction that writes its memories: a worker that finds no note writes nothing.

use std::time::Duration;

use protocol::{
    id::{MemoryId, RunId},
    memory::Visibility,
    message::Usage,
    name::{AgentId, SessionKey},
    run::{LlmConfig, RunLimits},
    scope::Scope,
    time::{Timestamp, Zone},
};
use sqlx::{Row, postgres::PgRow};

use super::{NewMemory, home::MemoryHome, instant, offset_s};
use crate::{
    error::StoreError,
    handle::Store,
    homes::Seen,
    notifier::Subject,
    rows::{
        get_optional_json, get_optional_parsed, get_parsed, get_scope, get_timestamp, get_u32,
        get_u64, get_usage, to_i32, to_i64,
    },
    scoped::Scoped,
    transaction::Transaction,
};

/// How often remembering a run is tried.
pub const TRIES_MAX: u32 = 3;
/// A run that waits for longer is dropped.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Runs of one organisation that wait; the oldest ones beyond that are dropped.
pub const WAITING_PER_ORG: u32 = 10_000;

/// A completed run that the holder of this value may remember.
#[derive(Debug, Clone)]
pub struct ToRemember {
    pub scope: Scope,
    pub run_id: RunId,
    /// How often it was taken, this time included.
    pub tries: u32,
    pub session_key: SessionKey,
    /// The agent that did it.
    pub agent_id: AgentId,
    pub input: String,
    pub output: String,
    /// The model asked for.
    pub llm_config: Option<LlmConfig>,
    /// The bounds asked for.
    pub limits: Option<RunLimits>,
    /// The time zone asked for.
    pub timezone: Option<Zone>,
    pub step_count: u32,
    /// What its model calls consumed.
    pub usage: Usage,
    pub cost_usd: f64,
    pub ended_at: Timestamp,
}

/// The outcome for the memories of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remembered {
    pub written: u32,
    /// The same was there already, and had its time brought up to date.
    pub merged: u32,
}

impl Store {
    /// Takes up to `most` runs to remember, for `hold`; each organisation gets its turn.
    pub async fn claim_to_remember(
        &self,
        most: u32,
        hold: Duration,
    ) -> Result<Vec<ToRemember>, StoreError> {
        let query = sqlx::query("select * from claim_to_remember($1, $2, $3, $4)")
            .bind(to_i32(most))
            .bind(hold.as_secs_f64())
            .bind(to_i32(TRIES_MAX))
            .bind(self.remembered_last.get());
        let rows = self.database.call(query).await?;
        if let Some(row) = rows.first() {
            self.remembered_last.set(row.try_get("served_last")?);
        }
        rows.iter().map(to_remember).collect()
    }

    /// Hands back what was taken and not done.
    pub async fn release_to_remember(&self, runs: &[ToRemember]) -> Result<(), StoreError> {
        let orgs: Vec<_> = runs.iter().map(|run| run.scope.org_id.as_str()).collect();
        let ids: Vec<_> = runs.iter().map(|run| run.run_id.uuid()).collect();
        let tries: Vec<_> = runs.iter().map(|run| to_i32(run.tries)).collect();
        let query = sqlx::query("select release_to_remember($1, $2, $3)");
        self.database.call(query.bind(orgs).bind(ids).bind(tries)).await?;
        Ok(())
    }

    /// Drops runs that waited for longer than [`WAIT_MAX`], failed [`TRIES_MAX`] times, or are more
    /// than [`WAITING_PER_ORG`] of one organisation; returns how many.
    pub async fn forget_to_remember(&self) -> Result<u64, StoreError> {
        let query = sqlx::query("select forget_to_remember($1, $2, $3) as gone")
            .bind(WAIT_MAX.as_secs_f64())
            .bind(to_i32(TRIES_MAX))
            .bind(to_i32(WAITING_PER_ORG));
        get_u64(&self.database.call_one(query).await?, "gone")
    }
}

impl Scoped {
    /// Writes the memories of a run, perhaps none, and deletes its note: only one caller succeeds.
    /// A memory with the text and layer of an existing one is not written again; if a run wrote
    /// that one, it moves to the later time.
    ///
    /// Memories of a group get the places behind all that are there.
    pub async fn remember_run(
        &self,
        run_id: RunId,
        new: &[NewMemory],
    ) -> Result<Remembered, StoreError> {
        let mut tx = self.begin().await?;
        let note = sqlx::query(
            "delete from runs_to_remember n using runs r
             where n.org_id = $1 and n.run_id = $4 and r.org_id = $1 and r.user_id = $2
               and r.project_id = $3 and r.run_id = $4
             returning 1",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .fetch_optional(&mut tx)
        .await?;
        let mut done = Remembered::default();
        if note.is_some() && !new.is_empty() {
            let home = self.home(Visibility::Scope);
            home.lock(&mut tx).await?;
            for memory in new {
                match home.same_text(&mut tx, memory).await? {
                    Some(same) => {
                        home.move_to(&mut tx, &same, memory).await?;
                        done.merged += 1;
                    }
                    None => {
                        home.insert_last(&mut tx, memory.clone()).await?;
                        done.written += 1;
                    }
                }
            }
        }
        tx.commit().await?;
        self.notifier().wake_here(Subject::Run(run_id));
        Ok(done)
    }

    /// The texts of memories, those that are there, each as far as `max_chars`; in no order.
    pub async fn memory_texts(
        &self,
        ids: &[MemoryId],
        max_chars: u32,
    ) -> Result<Vec<String>, StoreError> {
        let Seen { users, projects } = self.seen();
        let query = sqlx::query(
            "select left(text, $5) as text from memories
             where org_id = $1 and (user_id, project_id) in (select * from unnest($2, $3))
               and memory_id = any($4)",
        )
        .bind(self.org())
        .bind(users)
        .bind(projects)
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(to_i32(max_chars));
        let rows = self.read(query).await?;
        rows.iter().map(|row| Ok(row.try_get("text")?)).collect()
    }

    /// Adds to what a run used, after its end.
    pub async fn add_usage(
        &self,
        run_id: RunId,
        used: Usage,
        cost_usd: f64,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "update runs
             set input_tokens = input_tokens + $5, output_tokens = output_tokens + $6,
                 cached_tokens = cached_tokens + $7, cost_usd = cost_usd + $8,
                 reasoning_tokens = reasoning_tokens + $9
             where org_id = $1 and user_id = $2 and project_id = $3 and run_id = $4",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(to_i64(used.input_tokens))
        .bind(to_i64(used.output_tokens))
        .bind(to_i64(used.cached_tokens))
        .bind(cost_usd)
        .bind(to_i64(used.reasoning_tokens));
        self.write(query).await
    }
}

impl MemoryHome {
    /// The oldest memory of the same layer and text.
    async fn same_text(
        &self,
        tx: &mut Transaction,
        memory: &NewMemory,
    ) -> Result<Option<SameText>, StoreError> {
        let row = sqlx::query(
            "select memory_id,
                    run_id is not null and not occurred_on_day and occurred_at < $6 as is_earlier,
                    (occurred_at at time zone 'utc' + occurred_offset_s * interval '1 s')::date
                        <> ($6 at time zone 'utc' + $7 * interval '1 s')::date
                        as is_of_another_day
             from memories
             where org_id = $1 and user_id = $2 and project_id = $3 and text_hash = $4
               and type = $5
             order by created_at, memory_id
             limit 1",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(memory.content.text_hash.as_slice())
        .bind(memory.kind.as_str())
        .bind(instant(memory.occurred_at))
        .bind(offset_s(memory.occurred_at))
        .fetch_optional(tx)
        .await?;
        row.map(|row| {
            let is_earlier = row.try_get::<Option<bool>, _>("is_earlier")?.unwrap_or(false);
            let other_day: Option<bool> = row.try_get("is_of_another_day")?;
            Ok(SameText {
                id: MemoryId::from_uuid(row.try_get("memory_id")?),
                moves: is_earlier,
                changes_day: is_earlier && other_day.unwrap_or(false),
            })
        })
        .transpose()
    }

    async fn move_to(
        &self,
        tx: &mut Transaction,
        same: &SameText,
        memory: &NewMemory,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update memories
             set updated_at = clock_timestamp(),
                 occurred_at = case when $5 then $6 else occurred_at end,
                 occurred_offset_s = case when $5 then $7 else occurred_offset_s end
             where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(same.id.uuid())
        .bind(same.moves)
        .bind(instant(memory.occurred_at))
        .bind(offset_s(memory.occurred_at))
        .execute(&mut *tx)
        .await?;
        if same.changes_day {
            // The day is among the terms.
            let place = self.home.remove_chunks(tx, same.id).await?;
            self.home.insert_chunks(tx, &[(place, &memory.content)]).await?;
        }
        Ok(())
    }

    /// Inserts a memory behind all others of its group.
    async fn insert_last(
        &self,
        tx: &mut Transaction,
        mut memory: NewMemory,
    ) -> Result<(), StoreError> {
        if memory.group_key.is_some() {
            let place = sqlx::query_scalar(
                // The index of a scope's layout answers it. Those that name no place stand last.
                "select coalesce(max(position), -1) + 1 from memory_chunks
                 where org_id = $1 and user_id = $2 and project_id = $3 and parent_id = $4
                   and position < 2147483646",
            )
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(memory.parent_id)
            .fetch_one(&mut *tx)
            .await?;
            memory.position = Some(place);
        }
        self.insert(tx, &[&memory]).await
    }
}

/// A memory with the text of a new one.
struct SameText {
    id: MemoryId,
    /// A run wrote it, at an earlier time.
    moves: bool,
    /// And that was on another day.
    changes_day: bool,
}

fn to_remember(row: &PgRow) -> Result<ToRemember, StoreError> {
    Ok(ToRemember {
        scope: get_scope(row)?,
        run_id: RunId::from_uuid(row.try_get("run_id")?),
        tries: get_u32(row, "tries")?,
        session_key: get_parsed(row, "session_key")?,
        agent_id: get_parsed(row, "agent_id")?,
        input: row.try_get("input")?,
        output: row.try_get::<Option<String>, _>("output")?.unwrap_or_default(),
        llm_config: get_optional_json(row, "llm_config")?,
        limits: get_optional_json(row, "limits")?,
        timezone: get_optional_parsed(row, "timezone")?,
        step_count: get_u32(row, "step_count")?,
        usage: get_usage(row)?,
        cost_usd: row.try_get("cost_usd")?,
        ended_at: get_timestamp(row, "ended_at")?,
    })
}
