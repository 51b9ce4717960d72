//! Completed runs that are to be remembered: taking them, writing their memories, dropping those that
//! wait too long. What is worth remembering is not known here.
//!
//! A run is noted by the statement that commits its end (see `journal`). Its note is deleted in the
//! transaction that writes its memories: a worker that finds no note writes nothing.
//!
//! Runs are read and written many at a time: what one costs is mostly the way to the database.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use protocol::{
    id::{MemoryId, RunId},
    memory::MemoryType,
    message::Usage,
    name::{AgentId, SessionKey},
    run::{LlmConfig, RunLimits},
    scope::Scope,
    time::{Timestamp, Zone},
};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::{CORE_MAX, NewMemory, chunks::ChunkRow, home::hex, offset_s};
use crate::{
    error::StoreError,
    handle::Store,
    notifier::Subject,
    rows::{
        get_json, get_optional_json, get_optional_parsed, get_parsed, get_scope, get_timestamp,
        get_u32, get_u64, get_usage, storable_json, to_i32, to_i64,
    },
    scoped::Scoped,
};

/// How often remembering a run is tried.
pub const TRIES_MAX: u32 = 3;
/// A run that waits for longer is dropped.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Runs of one organisation that wait; the oldest ones beyond that are dropped.
pub const WAITING_PER_ORG: u32 = 100_000;
/// How much of a task and of an answer is read, in characters.
const TEXT_MAX_CHARS: u32 = 16_384;
/// Events of a run that are looked at for what it knew.
const EVENTS_MAX: i64 = 1_000;

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
    /// The beginnings of the task and of the answer.
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

/// What a run leaves in memory, perhaps nothing.
#[derive(Debug, Clone)]
pub struct LeftByRun {
    pub scope: Scope,
    pub run_id: RunId,
    /// Visible to the scope alone.
    pub memories: Vec<NewMemory>,
}

/// What runs knew before they answered.
#[derive(Debug, Default)]
pub struct KnownToRuns {
    /// The core memories of their scopes.
    pub core: HashMap<Scope, Vec<String>>,
    /// What each run recalled, and its calls of the tools that were asked for, in order.
    pub events: HashMap<RunId, Vec<KnowingEvent>>,
}

/// An event that says what a run knew.
#[derive(Debug)]
pub struct KnowingEvent {
    pub type_name: String,
    pub payload: Value,
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
        let query = sqlx::query("select * from claim_to_remember($1, $2, $3, $4, $5)")
            .bind(to_i32(most))
            .bind(hold.as_secs_f64())
            .bind(to_i32(TRIES_MAX))
            .bind(self.remembered_last.get())
            .bind(to_i32(TEXT_MAX_CHARS));
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

    /// What runs knew before they answered: the core memories of their scopes as far as
    /// `core_max_chars`, what they recalled, and their calls of `tools`.
    pub async fn known_to_runs(
        &self,
        runs: &[ToRemember],
        tools: &[&str],
        core_max_chars: u32,
    ) -> Result<KnownToRuns, StoreError> {
        let mut of_scopes: BTreeMap<ScopeKey<'_>, (&Scope, Vec<Uuid>)> = BTreeMap::new();
        for run in runs {
            let of_scope = of_scopes.entry(key(&run.scope)).or_insert((&run.scope, Vec::new()));
            of_scope.1.push(run.run_id.uuid());
        }
        let rows: Vec<_> = of_scopes
            .iter()
            .map(|(key, (_, runs))| ScopeRow::of(*key, RunsOfScope { runs }))
            .collect();
        let query = sqlx::query("select * from known_to_runs($1::jsonb, $2, $3, $4, $5)")
            .bind(storable_json(&rows)?)
            .bind(tools)
            .bind(EVENTS_MAX)
            .bind(i64::from(core_max_chars))
            .bind(CORE_MAX);
        let scopes: Vec<&Scope> = of_scopes.values().map(|(scope, _)| *scope).collect();
        let mut known = KnownToRuns::default();
        for row in self.database.call(query).await? {
            if let Some(text) = row.try_get("core")? {
                let place = usize::try_from(get_u64(&row, "place")?).unwrap_or_default();
                let scope = place.checked_sub(1).and_then(|place| scopes.get(place));
                let scope =
                    scope.ok_or_else(|| StoreError::unreadable("there is no such scope"))?;
                known.core.entry((*scope).clone()).or_default().push(text);
                continue;
            }
            let event = KnowingEvent {
                type_name: row.try_get("type")?,
                payload: get_json(&row, "payload")?,
            };
            let run_id = RunId::from_uuid(row.try_get("run_id")?);
            known.events.entry(run_id).or_default().push(event);
        }
        Ok(known)
    }

    /// The texts of memories that scopes see, those that are there, each as far as `max_chars`.
    pub async fn texts_of_memories(
        &self,
        asked: &[(&Scope, &[MemoryId])],
        max_chars: u32,
    ) -> Result<HashMap<MemoryId, String>, StoreError> {
        let mut of_scopes: BTreeMap<ScopeKey<'_>, Vec<Uuid>> = BTreeMap::new();
        for (scope, ids) in asked.iter().filter(|(_, ids)| !ids.is_empty()) {
            of_scopes.entry(key(scope)).or_default().extend(ids.iter().map(|id| id.uuid()));
        }
        if of_scopes.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<_> = of_scopes
            .iter_mut()
            .map(|(key, memories)| {
                memories.sort_unstable();
                memories.dedup();
                ScopeRow::of(*key, MemoriesOfScope { memories })
            })
            .collect();
        let query = sqlx::query("select memory_id, text from texts_of_memories($1::jsonb, $2)")
            .bind(storable_json(&rows)?)
            .bind(to_i32(max_chars));
        let rows = self.database.call(query).await?;
        rows.iter()
            .map(|row| Ok((MemoryId::from_uuid(row.try_get("memory_id")?), row.try_get("text")?)))
            .collect()
    }

    /// Writes what runs of one organisation leave in memory and deletes their notes, all or none:
    /// only one caller succeeds with a run.
    ///
    /// A memory with the text and layer of an existing one is not written again; if a run wrote
    /// that one, it moves to the later time. Memories of a group get the places behind all that are
    /// there.
    pub async fn remember_runs(
        &self,
        left: &[LeftByRun],
    ) -> Result<HashMap<RunId, Remembered>, StoreError> {
        let Some(first) = left.first() else { return Ok(HashMap::new()) };
        let mut vectors = Vec::new();
        // In the order of their names, so that no two callers wait for each other.
        let mut of_scopes: BTreeMap<ScopeKey<'_>, LeftInScope<'_>> = BTreeMap::new();
        for LeftByRun { scope, run_id, memories } in left {
            let of_scope = of_scopes.entry(key(scope)).or_default();
            of_scope.runs.push(run_id.uuid());
            for memory in memories {
                let chunks = (0..).zip(&memory.content.chunks);
                let chunks = chunks.map(|(ordinal, chunk)| {
                    ChunkRow::of(ordinal, &memory.content, chunk, &mut vectors)
                });
                let chunks = chunks.collect();
                of_scope.memories.push(LeftMemoryRow::of(*run_id, memory, chunks));
            }
        }
        let rows: Vec<_> =
            of_scopes.into_iter().map(|(key, rest)| ScopeRow::of(key, rest)).collect();
        let query = sqlx::query("select run_id, is_new from remember_runs($1::jsonb, $2)")
            .bind(storable_json(&rows)?)
            .bind(vectors);
        let mut done: HashMap<RunId, Remembered> = HashMap::new();
        for row in self.database.call_for(first.scope.org_id.as_str(), query).await? {
            let of_run = done.entry(RunId::from_uuid(row.try_get("run_id")?)).or_default();
            match row.try_get("is_new")? {
                true => of_run.written += 1,
                false => of_run.merged += 1,
            }
        }
        for run in left {
            self.notifier.wake_here(Subject::Run(run.run_id));
        }
        Ok(done)
    }
}

impl Scoped {
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

/// The names of a scope, in the order in which its home is locked.
type ScopeKey<'a> = [&'a str; 3];

fn key(scope: &Scope) -> ScopeKey<'_> {
    [scope.org_id.as_str(), scope.user_id.as_str(), scope.project_key()]
}

/// A scope as a parameter, with what is asked or said of it: the fields are named after the columns.
#[derive(Serialize)]
struct ScopeRow<'a, T> {
    org_id: &'a str,
    user_id: &'a str,
    project_id: &'a str,
    #[serde(flatten)]
    rest: T,
}

impl<'a, T> ScopeRow<'a, T> {
    fn of([org_id, user_id, project_id]: ScopeKey<'a>, rest: T) -> Self {
        Self { org_id, user_id, project_id, rest }
    }
}

#[derive(Serialize)]
struct RunsOfScope<'a> {
    runs: &'a [Uuid],
}

#[derive(Serialize)]
struct MemoriesOfScope<'a> {
    memories: &'a [Uuid],
}

#[derive(Default, Serialize)]
struct LeftInScope<'a> {
    runs: Vec<Uuid>,
    memories: Vec<LeftMemoryRow<'a>>,
}

/// A memory of a run: the fields are named after the columns.
#[derive(Serialize)]
struct LeftMemoryRow<'a> {
    memory_id: Uuid,
    r#type: MemoryType,
    text: &'a str,
    /// As PostgreSQL reads bytes.
    text_hash: String,
    metadata: &'a Map<String, Value>,
    importance: f32,
    group_key: Option<&'a str>,
    /// As text, to the microsecond.
    occurred_at: Option<String>,
    occurred_offset_s: i32,
    run_id: Uuid,
    step: Option<u32>,
    parent_id: Uuid,
    chunks: Vec<ChunkRow<'a>>,
}

impl<'a> LeftMemoryRow<'a> {
    fn of(run_id: RunId, memory: &'a NewMemory, chunks: Vec<ChunkRow<'a>>) -> Self {
        Self {
            memory_id: memory.id.uuid(),
            r#type: memory.kind,
            text: &memory.content.text,
            text_hash: hex(&memory.content.text_hash),
            metadata: &memory.metadata,
            importance: memory.importance,
            group_key: memory.group_key.as_deref(),
            occurred_at: memory.occurred_at.map(|at| at.instant().get().to_string()),
            occurred_offset_s: offset_s(memory.occurred_at),
            run_id: run_id.uuid(),
            step: memory.origin.map(|origin| origin.step),
            parent_id: memory.parent_id,
            chunks,
        }
    }
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
