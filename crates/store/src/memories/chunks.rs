//! Chunks and their postings: inserted and removed together, and counted.

use std::{collections::BTreeMap, mem};

use pgvector::Vector;
use protocol::id::MemoryId;
use serde::Serialize;
use sqlx::Row;
use uuid::Uuid;

use super::{Content, NewChunk, NewMemory};
use crate::{error::StoreError, homes::Home, transaction::Transaction};

/// A part of a write is closed with this many postings: each is a row in two indexes, and a statement
/// has 5 s, on a busy machine too.
const POSTINGS_AT_ONCE: usize = 10_000;

/// Where the chunks of a memory stand.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct MemoryPlace {
    memory_id: Uuid,
    parent_id: Uuid,
    position: i32,
}

impl MemoryPlace {
    /// A memory that names no place stands after those that do, in the order of writing.
    pub(super) fn of(memory: &NewMemory) -> Self {
        Self {
            memory_id: memory.id.uuid(),
            parent_id: memory.parent_id,
            position: memory.position.unwrap_or(i32::MAX),
        }
    }
}

impl Home {
    /// Inserts the chunks of memories with their postings and counts them. Vectors of another
    /// embedder than the one in force are left out: it will fill them in.
    pub(super) async fn insert_chunks(
        &self,
        tx: &mut Transaction,
        contents: &[(MemoryPlace, &Content)],
    ) -> Result<(), StoreError> {
        for part in parts(contents) {
            self.insert_part(tx, part).await?;
        }
        Ok(())
    }

    async fn insert_part(&self, tx: &mut Transaction, part: Part<'_>) -> Result<(), StoreError> {
        sqlx::query("select insert_memory_chunks($1, $2, $3, $4::jsonb, $5)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(serde_json::to_string(&part.rows).map_err(StoreError::unreadable)?)
            .bind(&part.vectors)
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Removes the chunks of a memory with their postings, and answers where they stood.
    pub(super) async fn remove_chunks(
        &self,
        tx: &mut Transaction,
        id: MemoryId,
    ) -> Result<MemoryPlace, StoreError> {
        let query = "select parent_id, place from remove_memory_chunks($1, $2, $3, $4)";
        let row = sqlx::query(query)
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(id.uuid())
            .fetch_one(tx)
            .await?;
        Ok(MemoryPlace {
            memory_id: id.uuid(),
            parent_id: row.try_get("parent_id")?,
            position: row.try_get("place")?,
        })
    }

    /// Moves the chunks of a memory with their postings and counts to another home: deleted here and
    /// inserted there, where each gets a new number.
    pub(super) async fn move_chunks(
        &self,
        tx: &mut Transaction,
        id: MemoryId,
        to: &Self,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "with gone as (
                 delete from memory_chunks
                 where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4
                 returning *
             ), terms as (
                 select g.ordinal, p.term, p.frequency
                 from gone g
                 join memory_postings p
                   on p.org_id = $1 and p.user_id = $2 and p.project_id = $3
                      and p.chunk_id = g.chunk_id
             ), chunks as (
                 insert into memory_chunks (org_id, user_id, project_id, memory_id, parent_id,
                                            position, ordinal, chunk_text, length, embedding,
                                            embedding_model, search_tsv)
                 select $1, $5, $6, memory_id, parent_id, position, ordinal, chunk_text, length,
                        embedding, embedding_model, search_tsv
                 from gone
                 returning chunk_id, ordinal, length
             ), postings as (
                 insert into memory_postings
                     (org_id, user_id, project_id, term, chunk_id, frequency)
                 select $1, $5, $6, term, chunk_id, frequency
                 from terms join chunks using (ordinal)
             ), left_behind as (
                 update memory_scope_stats
                 set chunk_count = chunk_count - (select count(*) from chunks),
                     term_count = term_count - (select coalesce(sum(length), 0) from chunks)
                 where org_id = $1 and user_id = $2 and project_id = $3
             )
             update memory_scope_stats
             set chunk_count = chunk_count + (select count(*) from chunks),
                 term_count = term_count + (select coalesce(sum(length), 0) from chunks)
             where org_id = $1 and user_id = $5 and project_id = $6",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .bind(to.user())
        .bind(to.project())
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// A row of `insert_memory_chunks`, but for the place of its memory.
#[derive(Serialize)]
pub(super) struct ChunkRow<'a> {
    ordinal: u32,
    chunk_text: &'a str,
    length: u32,
    embedding_model: Option<&'a str>,
    /// The place of its vector among all that go with it, from 1.
    vector: Option<usize>,
    /// Each with its frequency.
    terms: BTreeMap<&'a str, u32>,
}

/// The same with that place.
#[derive(Serialize)]
struct PlacedRow<'a> {
    #[serde(flatten)]
    place: MemoryPlace,
    #[serde(flatten)]
    chunk: ChunkRow<'a>,
}

impl<'a> ChunkRow<'a> {
    /// Puts its vector, if it has one, behind `vectors`.
    pub(super) fn of(
        ordinal: u32,
        content: &'a Content,
        chunk: &'a NewChunk,
        vectors: &mut Vec<Vector>,
    ) -> Self {
        vectors.extend(chunk.embedding.clone().map(Vector::from));
        Self {
            ordinal,
            chunk_text: &chunk.text,
            length: chunk.terms.iter().map(|(_, count)| count).sum(),
            embedding_model: chunk.embedding.as_ref().and(content.embedding_model.as_deref()),
            vector: chunk.embedding.as_ref().map(|_| vectors.len()),
            terms: chunk.terms.iter().map(|(term, count)| (term.as_str(), *count)).collect(),
        }
    }
}

/// Rows to insert that a statement has time for.
#[derive(Default)]
struct Part<'a> {
    rows: Vec<PlacedRow<'a>>,
    vectors: Vec<Vector>,
    postings: usize,
}

fn parts<'a>(contents: &[(MemoryPlace, &'a Content)]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut part = Part::default();
    for (place, content) in contents {
        for (ordinal, chunk) in (0..).zip(&content.chunks) {
            if part.postings >= POSTINGS_AT_ONCE {
                parts.push(mem::take(&mut part));
            }
            let chunk_row = ChunkRow::of(ordinal, content, chunk, &mut part.vectors);
            part.rows.push(PlacedRow { place: *place, chunk: chunk_row });
            part.postings += chunk.terms.len();
        }
    }
    parts.push(part);
    parts
}
