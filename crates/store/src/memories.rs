//! The memories of a tenant: write, get, list, edit, delete. Chunks are in `chunks`, searching is in
//! `search`, new vectors for old chunks in `reindex`, the embedder of the database in `embedder`, the
//! content before edits in `versions`, whole pages in `export`, memories of completed runs in
//! `after_runs`, relations between memories in `links`.
//!
//! Memories live in homes (see `homes`): one reads those of all homes that the scope sees, and writes
//! in one of them at a time, the scope's own unless told otherwise.
//!
//! Texts arrive cut into chunks and terms; text analysis is not done here. Memory, chunks,
//! postings and counts change in one transaction, which first locks the counts of the home:
//! writers of one home take turns, so that they cannot deadlock and duplicates cannot race.

pub mod after_runs;
mod chunks;
mod embedder;
mod export;
pub mod home;
pub mod links;
pub mod reindex;
pub mod search;
pub mod versions;

use std::{fmt, str::FromStr};

use jiff::tz::Offset;
use jiff_sqlx::{Timestamp as DbTimestamp, ToSqlx};
use protocol::{
    id::{MemoryId, RunId},
    memory::{
        Memory, MemoryFilters, MemoryOrigin, MemorySummary, MemoryType, OccurredAt, Visibility,
    },
    page::{Page, PageLimit},
    time::Timestamp,
};
use serde_json::{Map, Value};
use sqlx::{Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use self::home::MemoryHome;
use crate::{
    error::StoreError,
    homes::{Home, Seen},
    rows::{cut_page, get_json, get_parsed, get_timestamp},
    scoped::Scoped,
};

/// How long the vectors are that the table keeps.
pub const VECTOR_DIMENSIONS: usize = 256;

/// Characters of a memory's beginning that a list carries.
const SUMMARY_CHARS: i32 = 480;
/// Most core memories of a prompt.
const CORE_MAX: i64 = 200;

/// A memory to keep.
#[derive(Debug, Clone)]
pub struct NewMemory {
    pub id: MemoryId,
    pub kind: MemoryType,
    /// The text with what is derived from it.
    pub content: Content,
    /// The writer's own data.
    pub metadata: Map<String, Value>,
    /// How much it matters, 0 to 1.
    pub importance: f32,
    /// The group whose memories are its neighbours.
    pub group_key: Option<String>,
    /// The place in the group.
    pub position: Option<i32>,
    pub occurred_at: Option<OccurredAt>,
    /// What its chunks have in common with their neighbours: derived from the group, or the id.
    pub parent_id: Uuid,
    /// The run and step that write it.
    pub origin: Option<Origin>,
    pub visibility: Visibility,
}

/// A text and what is derived from it.
#[derive(Debug, Clone)]
pub struct Content {
    pub text: String,
    /// SHA-256 of the normalised text.
    pub text_hash: [u8; 32],
    /// Its chunks, in order.
    pub chunks: Vec<NewChunk>,
    /// Which embedder made the vectors.
    pub embedding_model: Option<String>,
}

/// A chunk to keep.
#[derive(Debug, Clone)]
pub struct NewChunk {
    /// The piece of the text.
    pub text: String,
    /// Its distinct terms, none of them empty, with their frequencies.
    pub terms: Vec<(String, u32)>,
    /// Its vector, where an embedder answered.
    pub embedding: Option<Vec<f32>>,
}

/// The run and step that write a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub run_id: RunId,
    pub step: u32,
}

/// The changes to a memory; absent fields stay as they are.
#[derive(Debug, Clone, Default)]
pub struct MemoryChange {
    pub content: Option<Content>,
    pub metadata: Option<Map<String, Value>>,
    pub importance: Option<f32>,
    /// Who is to see it.
    pub visibility: Option<Visibility>,
}

/// What must be known of a memory to change it.
#[derive(Debug, Clone)]
pub struct FoundMemory {
    pub home: MemoryHome,
    pub occurred_at: Option<OccurredAt>,
}

/// Where a page of memories ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCursor {
    created_at: jiff::Timestamp,
    id: MemoryId,
}

/// The text is not a cursor of a list of memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`cursor` is not one that this list has given out")]
pub struct MemoryCursorError;

impl MemoryCursor {
    fn of(last: &Memory) -> Self {
        Self { created_at: last.created_at.get(), id: last.id }
    }
}

impl fmt::Display for MemoryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.as_microsecond(), self.id)
    }
}

impl FromStr for MemoryCursor {
    type Err = MemoryCursorError;

    fn from_str(text: &str) -> Result<Self, MemoryCursorError> {
        let (micros, id) = text.split_once('.').ok_or(MemoryCursorError)?;
        let created_at =
            micros.parse().ok().and_then(|at| jiff::Timestamp::from_microsecond(at).ok());
        Ok(Self {
            created_at: created_at.ok_or(MemoryCursorError)?,
            id: id.parse().map_err(|_| MemoryCursorError)?,
        })
    }
}

const MEMORY_COLUMNS: &str = "org_id, user_id, project_id, memory_id, type, text, metadata, \
     importance, group_key, position, occurred_at, occurred_on_day, occurred_offset_s, run_id, step, \
     created_at, updated_at";
const FOUND_COLUMNS: &str =
    "org_id, user_id, project_id, occurred_at, occurred_on_day, occurred_offset_s";

impl Scoped {
    /// Writes memories, all or none, and returns their ids in order. One that exists already, by id or
    /// as an exact duplicate of the same visibility, is not written again: its place has the id of
    /// the existing one.
    pub async fn write_memories(&self, new: &[NewMemory]) -> Result<Vec<MemoryId>, StoreError> {
        let mut tx = self.begin().await?;
        let mut ids: Vec<MemoryId> = new.iter().map(|memory| memory.id).collect();
        for visibility in Visibility::ALL {
            let (places, of_home): (Vec<_>, Vec<_>) =
                ids.iter_mut().zip(new).filter(|(_, each)| each.visibility == visibility).unzip();
            if !of_home.is_empty() {
                let kept = self.home(visibility).write(&mut tx, &of_home).await?;
                places.into_iter().zip(kept).for_each(|(place, id)| *place = id);
            }
        }
        tx.commit().await?;
        Ok(ids)
    }

    pub async fn get_memory(&self, id: MemoryId) -> Result<Memory, StoreError> {
        memory_from(&self.memory_row(id, MEMORY_COLUMNS).await?)
    }

    /// Where a memory lives, without its text. What this scope does not see is `NotFound`.
    pub async fn find_memory(&self, id: MemoryId) -> Result<FoundMemory, StoreError> {
        let row = self.memory_row(id, FOUND_COLUMNS).await?;
        let home = self.home(Home::from_row(&row)?.visibility());
        Ok(FoundMemory { home, occurred_at: occurred_at_from(&row)? })
    }

    /// Memories, newest first, those before `cursor`.
    pub async fn list_memories(
        &self,
        filters: &MemoryFilters,
        cursor: Option<MemoryCursor>,
        limit: PageLimit,
    ) -> Result<Page<MemorySummary>, StoreError> {
        let Seen { users, projects } = self.seen();
        let query = sqlx::query(
            // Home by home, each in the order of its index.
            "select org_id, of_home.user_id, of_home.project_id, memory_id, type,
                    left(text, $12) as text, metadata, importance, group_key, position, occurred_at,
                    occurred_on_day, occurred_offset_s, run_id, step, created_at, updated_at
             from unnest($2, $3) as home (user_id, project_id)
             cross join lateral (
                 select * from memories m
                 where m.org_id = $1 and m.user_id = home.user_id
                   and m.project_id = home.project_id
                   and ($4::timestamptz is null or (created_at, memory_id) < ($4, $5))
                   and ($6::text[] is null or type = any($6))
                   and ($7::text is null or group_key = $7)
                   and ($8::jsonb is null or metadata @> $8)
                   and ($9::timestamptz is null or $9 <= occurred_at
                        + case when $13 then occurred_offset_s else 0 end * interval '1 s')
                   and ($10::timestamptz is null or $10 > occurred_at
                        + case when $14 then occurred_offset_s else 0 end * interval '1 s')
                 order by created_at desc, memory_id desc
                 limit $11
             ) of_home
             order by created_at desc, memory_id desc
             limit $11",
        )
        .bind(self.org())
        .bind(users)
        .bind(projects)
        .bind(cursor.map(|cursor| cursor.created_at.to_sqlx()))
        .bind(cursor.map(|cursor| cursor.id.uuid()))
        .bind(kinds(filters))
        .bind(&filters.group_key)
        .bind(filters.metadata.as_ref().map(Json))
        .bind(instant(filters.occurred_after))
        .bind(instant(filters.occurred_before))
        .bind(i64::from(limit.get()) + 1)
        .bind(SUMMARY_CHARS)
        .bind(is_day(filters.occurred_after))
        .bind(is_day(filters.occurred_before));
        let rows = self.read(query).await?;
        let memories = rows
            .iter()
            .map(|row| memory_from(row).map(summary))
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(cut_page(memories, limit, |last| {
            MemoryCursor { created_at: last.created_at.get(), id: last.id }.to_string()
        }))
    }

    /// The core memories, most important first, as far as `max_chars` of text reach.
    pub async fn core_memories(&self, max_chars: u32) -> Result<Vec<Memory>, StoreError> {
        let query = sqlx::query("select * from core_memories($1, $2, $3, $4, $5)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(i64::from(max_chars))
            .bind(CORE_MAX);
        self.call(query).await?.iter().map(memory_from).collect()
    }

    /// These columns of a memory, if this scope sees it.
    async fn memory_row(&self, id: MemoryId, columns: &str) -> Result<PgRow, StoreError> {
        let Seen { users, projects } = self.seen();
        let query = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {columns} from memories
             where org_id = $1 and (user_id, project_id) in (select * from unnest($2, $3))
               and memory_id = $4"
        )))
        .bind(self.org())
        .bind(users)
        .bind(projects)
        .bind(id.uuid());
        self.read(query).await?.into_iter().next().ok_or(StoreError::NotFound)
    }

    /// The homes whose memories this scope sees.
    fn seen(&self) -> Seen {
        Visibility::ALL.map(|visibility| Home::of(self.scope(), visibility)).iter().collect()
    }
}

fn memory_from(row: &PgRow) -> Result<Memory, StoreError> {
    Ok(Memory {
        id: MemoryId::from_uuid(row.try_get("memory_id")?),
        kind: get_parsed(row, "type")?,
        text: row.try_get("text")?,
        metadata: get_json(row, "metadata")?,
        importance: row.try_get("importance")?,
        group_key: row.try_get("group_key")?,
        position: row.try_get("position")?,
        occurred_at: occurred_at_from(row)?,
        origin: origin_from(row)?,
        visibility: Home::from_row(row)?.visibility(),
        created_at: get_timestamp(row, "created_at")?,
        updated_at: get_timestamp(row, "updated_at")?,
    })
}

fn occurred_at_from(row: &PgRow) -> Result<Option<OccurredAt>, StoreError> {
    let at: Option<DbTimestamp> = row.try_get("occurred_at")?;
    let on_day: bool = row.try_get("occurred_on_day")?;
    let offset = Offset::from_seconds(row.try_get("occurred_offset_s")?);
    let offset = offset.map_err(StoreError::unreadable)?;
    Ok(at.map(|at| {
        let at = OccurredAt::Instant(Timestamp::new(at.to_jiff()), offset);
        if on_day { OccurredAt::Day(at.day()) } else { at }
    }))
}

fn origin_from(row: &PgRow) -> Result<Option<MemoryOrigin>, StoreError> {
    let run: Option<Uuid> = row.try_get("run_id")?;
    let step: Option<i32> = row.try_get("step")?;
    let step = step.map_or(0, i32::cast_unsigned);
    Ok(run.map(|run| MemoryOrigin { run_id: RunId::from_uuid(run), step }))
}

fn summary(memory: Memory) -> MemorySummary {
    MemorySummary {
        id: memory.id,
        kind: memory.kind,
        snippet: memory.text,
        metadata: memory.metadata,
        importance: memory.importance,
        group_key: memory.group_key,
        position: memory.position,
        occurred_at: memory.occurred_at,
        visibility: memory.visibility,
        created_at: memory.created_at,
        updated_at: memory.updated_at,
    }
}

fn kinds(filters: &MemoryFilters) -> Option<Vec<&'static str>> {
    filters.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.as_str()).collect())
}

pub(crate) fn instant(at: Option<OccurredAt>) -> Option<DbTimestamp> {
    at.map(|at| at.instant().get().to_sqlx())
}

fn offset_s(at: Option<OccurredAt>) -> i32 {
    at.map_or(0, |at| at.offset().seconds())
}

fn is_day(at: Option<OccurredAt>) -> bool {
    matches!(at, Some(OccurredAt::Day(_)))
}
