//! Chunks and their postings: inserted and removed together, and counted.

use std::mem;

use pgvector::Vector;
use protocol::id::MemoryId;
use sqlx::Row;
use uuid::Uuid;

use super::{Content, NewChunk, NewMemory};
use crate::{error::StoreError, scoped::Scoped, transaction::Transaction};

/// A part of a write is closed with this many postings: each is a row in two indexes, and a statement
/// has 5 s, on a busy machine too.
const POSTINGS_AT_ONCE: usize = 10_000;

/// Where the chunks of a memory stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    memory_id: Uuid,
    parent_id: Uuid,
    position: i32,
}

impl Place {
    /// A memory that names no place stands after those that do, in the order of writing.
    pub(super) fn of(memory: &NewMemory) -> Self {
        Self {
            memory_id: memory.id.uuid(),
            parent_id: memory.parent_id,
            position: memory.position.unwrap_or(i32::MAX),
        }
    }
}

impl Scoped {
    /// Inserts the chunks of memories with their postings and counts them. Vectors of another
    /// embedder than the one in force are left out: it will fill them in.
    pub(super) async fn insert_chunks(
        &self,
        tx: &mut Transaction,
        contents: &[(Place, &Content)],
    ) -> Result<(), StoreError> {
        for part in parts(contents) {
            self.insert_part(tx, part).await?;
        }
        Ok(())
    }

    async fn insert_part(&self, tx: &mut Transaction, rows: Part<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "with new as (
                 select *, coalesce(embedding_model = (select embedder from memory_embedder), true)
                           as is_in_force
                 from unnest($4::uuid[], $5::uuid[], $6::int[], $7::int[], $8::text[], $9::int[],
                             $10::vector[], $11::text[], $12::text[])
                      as n (memory_id, parent_id, position, ordinal, chunk_text, length, embedding,
                            embedding_model, terms)
             ), used as (
                 update memory_embedder set is_used = true
                 where not is_used and embedder = any($11)
             ), chunks as (
                 insert into memory_chunks (org_id, user_id, project_id, memory_id, parent_id,
                                            position, ordinal, chunk_text, length, embedding,
                                            embedding_model, search_tsv)
                 select $1, $2, $3, memory_id, parent_id, position, ordinal, chunk_text, length,
                        case when is_in_force then embedding end,
                        case when is_in_force then embedding_model end,
                        array_to_tsvector(string_to_array(terms, ' '))
                 from new
                 returning chunk_id, memory_id, ordinal, length
             ), postings as (
                 insert into memory_postings
                     (org_id, user_id, project_id, term, chunk_id, frequency)
                 select $1, $2, $3, term, chunk_id, frequency
                 from unnest($13::uuid[], $14::int[], $15::text[], $16::int[])
                      as n (memory_id, ordinal, term, frequency)
                 join chunks using (memory_id, ordinal)
             )
             update memory_scope_stats
             set chunk_count = chunk_count + (select count(*) from chunks),
                 term_count = term_count + (select coalesce(sum(length), 0) from chunks)
             where org_id = $1 and user_id = $2 and project_id = $3",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(&rows.memory_ids)
        .bind(&rows.parent_ids)
        .bind(&rows.positions)
        .bind(&rows.ordinals)
        .bind(&rows.texts)
        .bind(&rows.lengths)
        .bind(&rows.embeddings)
        .bind(&rows.embedding_models)
        .bind(&rows.joined_terms)
        .bind(&rows.posting_memory_ids)
        .bind(&rows.posting_ordinals)
        .bind(&rows.terms)
        .bind(&rows.frequencies)
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Removes the chunks of a memory with their postings, and answers where they stood.
    pub(super) async fn remove_chunks(
        &self,
        tx: &mut Transaction,
        id: MemoryId,
    ) -> Result<Place, StoreError> {
        // The postings go with their chunks.
        let row = sqlx::query(
            "with chunks as (
                 delete from memory_chunks where org_id = $1 and memory_id = $4
                 returning length, parent_id, position
             ), stats as (
                 update memory_scope_stats
                 set chunk_count = chunk_count - (select count(*) from chunks),
                     term_count = term_count - (select coalesce(sum(length), 0) from chunks)
                 where org_id = $1 and user_id = $2 and project_id = $3
             )
             select parent_id, position from chunks limit 1",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .fetch_one(tx)
        .await?;
        Ok(Place {
            memory_id: id.uuid(),
            parent_id: row.try_get("parent_id")?,
            position: row.try_get("position")?,
        })
    }

    /// Moves the chunks of a memory with their postings and counts to another home. There they are
    /// new: each gets a new number.
    pub(super) async fn move_chunks(
        &self,
        tx: &mut Transaction,
        id: MemoryId,
        to: &Scoped,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "with chunks as (
                 update memory_chunks set chunk_id = default, user_id = $5, project_id = $6
                 where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4
                 returning length
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
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "update memory_postings set user_id = $3, project_id = $4
             where org_id = $1
               and chunk_id in (select chunk_id from memory_chunks
                                where org_id = $1 and memory_id = $2)",
        )
        .bind(self.org())
        .bind(id.uuid())
        .bind(to.user())
        .bind(to.project())
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Rows to insert that a statement has time for: columns, one vector each.
#[derive(Default)]
struct Part<'a> {
    memory_ids: Vec<Uuid>,
    parent_ids: Vec<Uuid>,
    positions: Vec<i32>,
    ordinals: Vec<i32>,
    texts: Vec<&'a str>,
    lengths: Vec<i32>,
    embeddings: Vec<Option<Vector>>,
    embedding_models: Vec<Option<&'a str>>,
    joined_terms: Vec<String>,
    posting_memory_ids: Vec<Uuid>,
    posting_ordinals: Vec<i32>,
    terms: Vec<&'a str>,
    frequencies: Vec<i32>,
}

fn parts<'a>(contents: &[(Place, &'a Content)]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut part = Part::default();
    for (place, content) in contents {
        for (ordinal, chunk) in (0..).zip(&content.chunks) {
            if part.terms.len() >= POSTINGS_AT_ONCE {
                parts.push(mem::take(&mut part));
            }
            part.push(*place, ordinal, content, chunk);
        }
    }
    parts.push(part);
    parts
}

impl<'a> Part<'a> {
    fn push(&mut self, place: Place, ordinal: i32, content: &'a Content, chunk: &'a NewChunk) {
        self.memory_ids.push(place.memory_id);
        self.parent_ids.push(place.parent_id);
        self.positions.push(place.position);
        self.ordinals.push(ordinal);
        self.texts.push(&chunk.text);
        self.lengths.push(chunk.terms.iter().map(|(_, count)| count.cast_signed()).sum());
        self.embeddings.push(chunk.embedding.clone().map(Vector::from));
        self.embedding_models
            .push(chunk.embedding.as_ref().and(content.embedding_model.as_deref()));
        let terms: Vec<_> = chunk.terms.iter().map(|(term, _)| term.as_str()).collect();
        self.joined_terms.push(terms.join(" "));
        for (term, count) in &chunk.terms {
            self.posting_memory_ids.push(place.memory_id);
            self.posting_ordinals.push(ordinal);
            self.terms.push(term);
            self.frequencies.push(count.cast_signed());
        }
    }
}
