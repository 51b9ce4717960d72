//! Links between memories, and the reads of a pass that finds them: the memories that changed since
//! the last pass, and the neighbours of each. What makes two alike is not known here.

use jiff_sqlx::{Timestamp as DbTimestamp, ToSqlx};
use protocol::{
    id::MemoryId,
    memory::{LinkKind, MemoryLink, MemoryType},
    time::Timestamp,
};
use serde::Serialize;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use super::home::MemoryHome;
use crate::{
    error::StoreError,
    rows::{get_parsed, get_timestamp, get_word, storable_json, to_i32},
};

/// Links of one memory that are shown.
const LINKS_MAX: i64 = 100;

/// A memory that may be compared with others.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub id: MemoryId,
    pub kind: MemoryType,
    /// All of the text.
    pub text: String,
    /// When it happened or, if that is unknown, was written.
    pub at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Its only chunk; none where it has more, and is a document rather than a note.
    pub chunk_id: Option<i64>,
    /// Near by vectors: the cosine, -1 to 1.
    pub cosine: Option<f64>,
}

/// What to look for near a memory.
#[derive(Debug, Clone, Copy)]
pub struct Near<'a> {
    /// The embedder whose vectors may be compared.
    pub embedding_model: Option<&'a str>,
    /// Terms of the memory that are looked up, the rarest first.
    pub terms: u32,
    /// A term that so many chunks have is not.
    pub chunks_per_term: u32,
    /// Longest text of a neighbour, in characters.
    pub max_chars: u32,
    /// Most neighbours, by vectors and by words each.
    pub limit: u32,
}

/// A link that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLink {
    /// The later one of two duplicates, or the memory that is superseded.
    pub from: MemoryId,
    /// The memory that it is linked to.
    pub to: MemoryId,
    /// How the first is related to the second.
    pub kind: LinkKind,
    /// How alike they are: 0 to 1.
    pub score: f32,
}

/// How far a pass came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last memory that was looked at,
    pub id: MemoryId,
    /// and when it had been changed.
    pub updated_at: Timestamp,
}

const COMPARED: &str = "m.memory_id, m.type, m.text, coalesce(m.occurred_at, m.created_at) as at, \
     m.updated_at, (select min(c.chunk_id) from memory_chunks c
                    where c.org_id = m.org_id and c.user_id = m.user_id
                      and c.project_id = m.project_id and c.memory_id = m.memory_id
                    having count(*) = 1) as chunk_id";

impl MemoryHome {
    /// Memories that were written or changed since the mark of the last pass, in that order.
    pub async fn memories_to_compare(&self, limit: u32) -> Result<Vec<Compared>, StoreError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {COMPARED}, null::float8 as cosine
             from memories m
             left join memory_scope_stats s using (org_id, user_id, project_id)
             where m.org_id = $1 and m.user_id = $2 and m.project_id = $3
               and (s.compared_to is null
                    or (m.updated_at, m.memory_id) > (s.compared_to, s.compared_to_id))
             order by m.updated_at, m.memory_id
             limit $4"
        )))
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(i64::from(limit));
        let mut tx = self.begin().await?;
        // Writers of a scope take turns: once it is ours, no earlier change is on its way.
        self.lock(&mut tx).await?;
        let rows = query.fetch_all(&mut tx).await?;
        tx.commit().await?;
        rows.iter().map(compared_from).collect()
    }

    /// What is near to a memory, of its layer, among those that come before it in a pass: so each
    /// pair is looked at once.
    pub async fn near_memories(
        &self,
        memory: &Compared,
        near: Near<'_>,
    ) -> Result<Vec<Compared>, StoreError> {
        let Some(chunk_id) = memory.chunk_id else { return Ok(Vec::new()) };
        let query = sqlx::query(sqlx::AssertSqlSafe(format!(
            "with mine as (
                 select term from memory_postings p
                 where org_id = $1 and user_id = $2 and project_id = $3 and chunk_id = $4
             ), rare as (
                 select term from mine
                 cross join lateral (
                     select count(*) as df from (
                         select from memory_postings p
                         where org_id = $1 and user_id = $2 and project_id = $3
                           and p.term = mine.term
                         limit $6
                     ) found
                 ) counted
                 where df > 1 and df < $6
                 order by df, term
                 limit $5
             ), by_words as (
                 select c.memory_id, count(*) as shared
                 from rare
                 cross join lateral (
                     select chunk_id from memory_postings p
                     where org_id = $1 and user_id = $2 and project_id = $3
                       and p.term = rare.term
                 ) found
                 join memory_chunks c
                   on c.org_id = $1 and c.user_id = $2 and c.project_id = $3
                      and c.chunk_id = found.chunk_id
                 where c.chunk_id <> $4
                 group by c.memory_id
                 order by shared desc, c.memory_id
                 limit $8
             ), by_vectors as (
                 select c.memory_id, 1 - (c.embedding <=> my.embedding) as cosine
                 from memory_chunks my
                 join memory_chunks c
                   on c.org_id = $1 and c.user_id = $2 and c.project_id = $3
                      and c.embedding_model = my.embedding_model
                 where my.org_id = $1 and my.user_id = $2 and my.project_id = $3
                   and my.chunk_id = $4 and my.embedding_model = $9
                   and c.chunk_id <> $4
                 order by c.embedding <=> my.embedding
                 limit $8
             ), found as (
                 select memory_id, max(cosine) as cosine
                 from (select memory_id, null::float8 as cosine from by_words
                       union all select memory_id, cosine from by_vectors) both_ways
                 group by memory_id
             )
             select {COMPARED}, found.cosine
             from found join memories m
               on m.org_id = $1 and m.user_id = $2 and m.project_id = $3
                  and m.memory_id = found.memory_id
             where m.type = $7 and length(m.text) <= $10
               and (m.updated_at, m.memory_id) < ($11, $12)
             order by m.memory_id"
        )))
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(chunk_id)
        .bind(i64::from(near.terms))
        .bind(i64::from(near.chunks_per_term))
        .bind(memory.kind.as_str())
        .bind(i64::from(near.limit))
        .bind(near.embedding_model)
        .bind(to_i32(near.max_chars))
        .bind(memory.updated_at.get().to_sqlx())
        .bind(memory.id.uuid());
        self.read(query).await?.iter().map(compared_from).collect()
    }

    /// Writes links and marks how far the pass came; returns those that are new. A link of a memory
    /// that is gone meanwhile is skipped; one that changed comes again in a later pass.
    pub async fn link_memories(
        &self,
        links: &[NewLink],
        mark: Mark,
    ) -> Result<Vec<MemoryLink>, StoreError> {
        let mut tx = self.begin().await?;
        let marked = sqlx::query(
            "update memory_scope_stats set compared_to = $4, compared_to_id = $5
             where org_id = $1 and user_id = $2 and project_id = $3
               and (compared_to is null or (compared_to, compared_to_id) < ($4, $5))",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(mark.updated_at.get().to_sqlx())
        .bind(mark.id.uuid())
        .execute(&mut tx)
        .await?;
        if marked.rows_affected() == 0 {
            return Ok(Vec::new()); // Another pass was faster, and found the same.
        }
        let rows: Vec<_> = links.iter().map(LinkRow::of).collect();
        let rows = sqlx::query(
            "insert into memory_links (org_id, user_id, project_id, from_id, to_id, kind, score)
             select $1, $2, $3, n.from_id, n.to_id, n.kind, n.score
             from jsonb_to_recordset($4::jsonb)
                  as n (from_id uuid, to_id uuid, kind text, score real)
             join memories a on a.org_id = $1 and a.user_id = $2 and a.project_id = $3
                                and a.memory_id = n.from_id
             join memories b on b.org_id = $1 and b.user_id = $2 and b.project_id = $3
                                and b.memory_id = n.to_id
             on conflict (org_id, from_id, to_id) do nothing
             returning from_id, to_id, kind, score, found_at",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(storable_json(&rows)?)
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        rows.iter().map(link_from).collect()
    }

    /// The links of a memory, newest first.
    pub async fn memory_links(&self, id: MemoryId) -> Result<Vec<MemoryLink>, StoreError> {
        let query = sqlx::query(
            "select l.from_id, l.to_id, l.kind, l.score, l.found_at
             from memories m
             left join lateral (
                 select * from memory_links
                 where org_id = $1 and user_id = $2 and project_id = $3
                   and (from_id = $4 or to_id = $4)
                 order by found_at desc, from_id, to_id
                 limit $5
             ) l on true
             where m.org_id = $1 and m.user_id = $2 and m.project_id = $3 and m.memory_id = $4
             order by l.found_at desc, l.from_id, l.to_id",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .bind(LINKS_MAX);
        let rows = self.read(query).await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound);
        }
        let mut links = Vec::new();
        for row in &rows {
            if row.try_get::<Option<Uuid>, _>("from_id")?.is_some() {
                links.push(link_from(row)?);
            }
        }
        Ok(links)
    }
}

/// A row of `memory_links`, for a parameter.
#[derive(Serialize)]
struct LinkRow {
    from_id: Uuid,
    to_id: Uuid,
    kind: LinkKind,
    score: f32,
}

impl LinkRow {
    fn of(link: &NewLink) -> Self {
        let NewLink { from, to, kind, score } = *link;
        Self { from_id: from.uuid(), to_id: to.uuid(), kind, score }
    }
}

fn compared_from(row: &PgRow) -> Result<Compared, StoreError> {
    Ok(Compared {
        id: MemoryId::from_uuid(row.try_get("memory_id")?),
        kind: get_parsed(row, "type")?,
        text: row.try_get("text")?,
        at: Timestamp::new(row.try_get::<DbTimestamp, _>("at")?.to_jiff()),
        updated_at: get_timestamp(row, "updated_at")?,
        chunk_id: row.try_get("chunk_id")?,
        cosine: row.try_get("cosine")?,
    })
}

fn link_from(row: &PgRow) -> Result<MemoryLink, StoreError> {
    Ok(MemoryLink {
        from: MemoryId::from_uuid(row.try_get("from_id")?),
        to: MemoryId::from_uuid(row.try_get("to_id")?),
        kind: get_word(row, "kind")?,
        score: row.try_get("score")?,
        found_at: get_timestamp(row, "found_at")?,
    })
}
