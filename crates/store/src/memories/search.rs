//! What a search reads: counts, postings, the layout of homes, vectors, and the chunks found; all
//! in one transaction, as of one moment. Scoring is not done here.

use pgvector::Vector;
use protocol::{
    id::MemoryId,
    memory::{MemoryFilters, MemoryType, OccurredAt},
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{instant, is_day, kinds, occurred_at_from};
use crate::{
    error::StoreError,
    homes::{Home, Seen},
    rows::{get_parsed, get_timestamp, get_u64},
    scoped::Scoped,
    transaction::Transaction,
};

/// The totals of a scope's memories, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryTotals {
    pub chunk_count: u64,
    /// Terms of all chunks, repetitions counted.
    pub term_count: u64,
    /// Whether there is core memory among it.
    pub has_core: bool,
    /// The time, by the database's clock.
    pub now: Timestamp,
}

/// The totals of one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeTotals {
    pub home: Home,
    pub chunk_count: u64,
    /// Terms of all chunks, repetitions counted.
    pub term_count: u64,
    /// Changes whenever the chunks do, and is never the same again.
    pub generation: i64,
}

/// Which chunks have a term, and how often each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostingList {
    pub term: String,
    /// In ascending order of chunk ids.
    pub postings: Vec<Posting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Posting {
    pub chunk_id: i64,
    pub frequency: u32,
}

/// A chunk in the layout of its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlace {
    pub chunk_id: i64,
    pub memory_id: Uuid,
    /// Its memory's group or, without one, its memory: chunks of one parent are neighbours.
    pub parent_id: Uuid,
    /// Its terms, repetitions counted.
    pub length: u32,
}

/// The parents of a home whose chunks are read, each parent's all together.
#[derive(Debug, Clone, Copy)]
pub enum Parents<'a> {
    All,
    /// Those that one of these chunks belongs to.
    OfChunks(&'a [i64]),
    /// Those to which a chunk with a higher id than this was added.
    AddedToAfter(i64),
}

/// A chunk near the question's vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearChunk {
    pub chunk_id: i64,
    /// The cosine, -1 to 1.
    pub cosine: f64,
}

/// A chunk that was found, with what of its memory counts for a hit.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundChunk {
    pub chunk_id: i64,
    pub memory_id: MemoryId,
    pub kind: MemoryType,
    /// The text of the chunk.
    pub text: String,
    pub importance: f32,
    pub occurred_at: Option<OccurredAt>,
    pub created_at: Timestamp,
}

impl FoundChunk {
    /// When it happened or, if that is unknown, was written.
    pub fn at(&self) -> Timestamp {
        self.occurred_at.map_or(self.created_at, OccurredAt::instant)
    }
}

/// The memories that a scope sees, as they are at one moment.
#[derive(Debug)]
pub struct MemoryReader {
    tx: Transaction,
    homes: Vec<HomeTotals>,
}

impl Scoped {
    /// The totals of this scope.
    pub async fn memory_totals(&self) -> Result<MemoryTotals, StoreError> {
        let query = sqlx::query("select * from memory_totals($1, $2, $3)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project());
        let row = self.store().database.call_one_for(self.org(), query).await?;
        Ok(MemoryTotals {
            chunk_count: get_u64(&row, "chunk_count")?,
            term_count: get_u64(&row, "term_count")?,
            has_core: row.try_get("has_core")?,
            now: get_timestamp(&row, "now")?,
        })
    }

    /// Begins to read. Nobody waits for a reader, but the database keeps old rows for it: do not hold
    /// it while waiting for anything else.
    pub async fn read_memories(&self) -> Result<MemoryReader, StoreError> {
        let Seen { users, projects } = self.seen();
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "select org_id, user_id, project_id, chunk_count, term_count, generation
             from unnest($2, $3) as home (user_id, project_id)
             join memory_scope_stats s using (user_id, project_id)
             where s.org_id = $1 and chunk_count > 0",
        )
        .bind(self.org())
        .bind(users)
        .bind(projects)
        .fetch_all(&mut tx)
        .await?;
        let homes = rows
            .iter()
            .map(|row| {
                Ok(HomeTotals {
                    home: Home::from_row(row)?,
                    chunk_count: get_u64(row, "chunk_count")?,
                    term_count: get_u64(row, "term_count")?,
                    generation: row.try_get("generation")?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(MemoryReader { tx, homes })
    }
}

impl MemoryReader {
    /// The homes that this scope sees and in which there is something.
    pub fn homes(&self) -> &[HomeTotals] {
        &self.homes
    }

    /// The chunks that have one of `terms`: of the rarest `max_terms` that occur at all, as long as
    /// they have `max_rows` postings together, but at least of the rarest one.
    pub async fn postings(
        &mut self,
        terms: &[String],
        max_terms: u32,
        max_rows: u32,
    ) -> Result<Vec<PostingList>, StoreError> {
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let (org, users, projects) = self.columns();
        let rows = sqlx::query(
            // A term at a time, by the whole key: of a tenant that came after the last `analyze`
            // the planner believes that it has one row, and would read all its postings.
            "with found as (
                 select term, chunk_ids, frequencies, cardinality(chunk_ids) as df
                 from unnest($4) as asked (term)
                 cross join lateral (
                     select array_agg(chunk_id) as chunk_ids, array_agg(frequency) as frequencies
                     from unnest($2, $3) as home (user_id, project_id)
                     cross join lateral (
                         select chunk_id, frequency from memory_postings p
                         where p.org_id = $1 and p.user_id = home.user_id
                           and p.project_id = home.project_id and p.term = asked.term
                         limit $6
                     ) of_home
                 ) of_term
                 where chunk_ids is not null
             ), ranked as (
                 select *, row_number() over rarest as place, sum(df) over rarest as rows
                 from found
                 window rarest as (order by df, term rows unbounded preceding)
             )
             select term, chunk_ids, frequencies from ranked
             where place <= $5 and (rows <= $6 or place = 1)",
        )
        .bind(org)
        .bind(users)
        .bind(projects)
        .bind(terms)
        .bind(i64::from(max_terms))
        .bind(i64::from(max_rows))
        .fetch_all(&mut self.tx)
        .await?;
        rows.iter()
            .map(|row| {
                let chunk_ids: Vec<i64> = row.try_get("chunk_ids")?;
                let frequencies: Vec<i32> = row.try_get("frequencies")?;
                let mut postings: Vec<_> = chunk_ids
                    .into_iter()
                    .zip(frequencies)
                    .map(|(chunk_id, frequency)| Posting {
                        chunk_id,
                        frequency: frequency.cast_unsigned(),
                    })
                    .collect();
                postings.sort_unstable();
                Ok(PostingList { term: row.try_get("term")?, postings })
            })
            .collect()
    }

    /// The chunks of a home, parent by parent and each parent's in its order.
    pub async fn layout(
        &mut self,
        home: &Home,
        parents: Parents<'_>,
    ) -> Result<Vec<ChunkPlace>, StoreError> {
        let chosen = match parents {
            Parents::All => None,
            Parents::OfChunks(_) => Some(
                "unnest($4) as found (chunk_id)
                 cross join lateral (
                     select parent_id from memory_chunks c
                     where org_id = $1 and user_id = $2 and project_id = $3
                       and c.chunk_id = found.chunk_id
                     limit 1
                 ) of_found",
            ),
            Parents::AddedToAfter(_) => Some(
                "unnest(array(
                     select parent_id from memory_chunks
                     where org_id = $1 and user_id = $2 and project_id = $3 and chunk_id > $4
                     order by chunk_id)) as added (parent_id)",
            ),
        };
        let chunks = match chosen {
            None => "select chunk_id, memory_id, parent_id, length from memory_chunks
                 where org_id = $1 and user_id = $2 and project_id = $3
                 order by parent_id, position, memory_id, ordinal"
                .to_owned(),
            // Each by its key, for the reason given at `postings`.
            Some(chosen) => format!(
                "select chunks.* from (select distinct parent_id from {chosen}) wanted
                 cross join lateral (
                     select chunk_id, memory_id, parent_id, length from memory_chunks c
                     where org_id = $1 and user_id = $2 and project_id = $3
                       and c.parent_id = wanted.parent_id
                     order by position, memory_id, ordinal
                 ) chunks"
            ),
        };
        // Arrays, because it may be all chunks of a home.
        let query = AssertSqlSafe(format!(
            "select array_agg(chunk_id) as chunk_ids, array_agg(memory_id) as memory_ids,
                    array_agg(parent_id) as parent_ids, array_agg(length) as lengths
             from ({chunks}) placed"
        ));
        let query = sqlx::query(query).bind(home.org()).bind(home.user()).bind(home.project());
        let query = match parents {
            Parents::All => query,
            Parents::OfChunks(chunk_ids) => query.bind(chunk_ids),
            Parents::AddedToAfter(chunk_id) => query.bind(chunk_id),
        };
        let row = query.fetch_one(&mut self.tx).await?;
        let column = |name: &str| -> Result<Vec<Uuid>, StoreError> {
            Ok(row.try_get::<Option<_>, _>(name)?.unwrap_or_default())
        };
        let chunk_ids: Option<Vec<i64>> = row.try_get("chunk_ids")?;
        let lengths: Option<Vec<i32>> = row.try_get("lengths")?;
        Ok(chunk_ids
            .unwrap_or_default()
            .into_iter()
            .zip(column("memory_ids")?)
            .zip(column("parent_ids")?)
            .zip(lengths.unwrap_or_default())
            .map(|(((chunk_id, memory_id), parent_id), length)| ChunkPlace {
                chunk_id,
                memory_id,
                parent_id,
                length: length.cast_unsigned(),
            })
            .collect())
    }

    /// The chunks of memories that satisfy all filters.
    pub async fn chunks_matching(
        &mut self,
        filters: &MemoryFilters,
    ) -> Result<Vec<i64>, StoreError> {
        let (org, users, projects) = self.columns();
        let rows = sqlx::query(
            "select c.chunk_id
             from unnest($2, $3) as home (user_id, project_id)
             join memories m
                 on m.org_id = $1 and m.user_id = home.user_id and m.project_id = home.project_id
             join memory_chunks c using (org_id, memory_id)
             where ($4::text[] is null or m.type = any($4))
               and ($5::text is null or m.group_key = $5)
               and ($6::jsonb is null or m.metadata @> $6)
               and ($7::timestamptz is null or $7 <= m.occurred_at
                    + case when $9 then m.occurred_offset_s else 0 end * interval '1 s')
               and ($8::timestamptz is null or $8 > m.occurred_at
                    + case when $10 then m.occurred_offset_s else 0 end * interval '1 s')",
        )
        .bind(org)
        .bind(users)
        .bind(projects)
        .bind(kinds(filters))
        .bind(&filters.group_key)
        .bind(filters.metadata.as_ref().map(Json))
        .bind(instant(filters.occurred_after))
        .bind(instant(filters.occurred_before))
        .bind(is_day(filters.occurred_after))
        .bind(is_day(filters.occurred_before))
        .fetch_all(&mut self.tx)
        .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The nearest chunks of a home, among those with a vector of one embedder and, with `among`,
    /// those named: an exact scan, nearest first.
    pub async fn nearest(
        &mut self,
        home: &Home,
        vector: &[f32],
        embedding_model: &str,
        among: Option<&[i64]>,
        limit: u32,
    ) -> Result<Vec<NearChunk>, StoreError> {
        let row = sqlx::query(
            // A sub-select, because it is hashed; `any` of a parameter is read from its beginning
            // for each row.
            "select array_agg(chunk_id) as chunk_ids, array_agg(1 - distance) as cosines
             from (
                 select chunk_id, embedding <=> $4 as distance
                 from memory_chunks
                 where org_id = $1 and user_id = $2 and project_id = $3 and embedding_model = $5
                   and ($6::bigint[] is null or chunk_id in (select unnest($6)))
                 order by distance, chunk_id desc
                 limit $7
             ) nearest",
        )
        .bind(home.org())
        .bind(home.user())
        .bind(home.project())
        .bind(Vector::from(vector.to_vec()))
        .bind(embedding_model)
        .bind(among)
        .bind(i64::from(limit))
        .fetch_one(&mut self.tx)
        .await?;
        near_chunks(&row)
    }

    /// Like [`Self::nearest`] by the index over the vectors of all tenants, which is quicker where a
    /// home is large. It may miss some: what it looks at before it gives up is bounded, and others'
    /// chunks are in its way.
    pub async fn nearest_by_index(
        &mut self,
        home: &Home,
        vector: &[f32],
        embedding_model: &str,
        limit: u32,
    ) -> Result<Vec<NearChunk>, StoreError> {
        // As wide as it gets: measured with 200 it finds 92 of 100, see bench/README.md.
        sqlx::query(
            "select set_config('hnsw.iterative_scan', 'strict_order', true),
                    set_config('hnsw.ef_search', '1000', true)",
        )
        .execute(&mut self.tx)
        .await?;
        let row = sqlx::query(
            "select array_agg(chunk_id) as chunk_ids, array_agg(1 - distance) as cosines
             from (
                 select chunk_id, embedding <=> $4 as distance
                 from memory_chunks
                 where org_id = $1 and user_id = $2 and project_id = $3 and embedding_model = $5
                 order by embedding::halfvec(256) <=> $4::halfvec(256)
                 limit $6
             ) nearest",
        )
        .bind(home.org())
        .bind(home.user())
        .bind(home.project())
        .bind(Vector::from(vector.to_vec()))
        .bind(embedding_model)
        .bind(i64::from(limit))
        .fetch_one(&mut self.tx)
        .await?;
        near_chunks(&row)
    }

    /// The text of chunks, with what of their memories counts for a hit; in no order.
    pub async fn found_chunks(&mut self, chunk_ids: &[i64]) -> Result<Vec<FoundChunk>, StoreError> {
        if chunk_ids.is_empty() {
            return Ok(Vec::new());
        }
        let (org, users, projects) = self.columns();
        let rows = sqlx::query(
            // Each chunk by its key, for the reason given at `postings`.
            "select chunk_id, memory_id, type, chunk_text, importance, occurred_at,
                    occurred_on_day, occurred_offset_s, created_at
             from unnest($4) as asked (chunk_id)
             cross join lateral (
                 select c.user_id, c.project_id, c.memory_id, m.type, c.chunk_text, m.importance,
                        m.occurred_at, m.occurred_on_day, m.occurred_offset_s, m.created_at
                 from memory_chunks c join memories m using (org_id, memory_id)
                 where c.org_id = $1 and c.chunk_id = asked.chunk_id
                 limit 1
             ) found
             where (user_id, project_id) in (select * from unnest($2, $3))",
        )
        .bind(org)
        .bind(users)
        .bind(projects)
        .bind(chunk_ids)
        .fetch_all(&mut self.tx)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(FoundChunk {
                    chunk_id: row.try_get("chunk_id")?,
                    memory_id: MemoryId::from_uuid(row.try_get("memory_id")?),
                    kind: get_parsed(row, "type")?,
                    text: row.try_get("chunk_text")?,
                    importance: row.try_get("importance")?,
                    occurred_at: occurred_at_from(row)?,
                    created_at: get_timestamp(row, "created_at")?,
                })
            })
            .collect()
    }

    /// Ends the reading, and gives the connection back at once.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.tx.commit().await
    }

    /// The organisation, and the homes as columns.
    fn columns(&self) -> (String, Vec<String>, Vec<String>) {
        let org = self.homes.first().map(|first| first.home.org().to_owned()).unwrap_or_default();
        let Seen { users, projects } = self.homes.iter().map(|each| &each.home).collect();
        (org, users, projects)
    }
}

fn near_chunks(row: &PgRow) -> Result<Vec<NearChunk>, StoreError> {
    let chunk_ids: Option<Vec<i64>> = row.try_get("chunk_ids")?;
    let cosines: Option<Vec<f64>> = row.try_get("cosines")?;
    Ok(chunk_ids
        .unwrap_or_default()
        .into_iter()
        .zip(cosines.unwrap_or_default())
        .map(|(chunk_id, cosine)| NearChunk { chunk_id, cosine })
        .collect())
}
