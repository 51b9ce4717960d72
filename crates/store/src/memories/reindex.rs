//! New vectors for chunks: which homes to look at, which of their chunks need one, and writing it.
//! How a vector is made is not known here.

use pgvector::Vector;
use sqlx::Row;

use crate::{error::StoreError, handle::Store, homes::Home, transaction::Tenant};

/// Which chunks need a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Those without one; none where another embedder is in force, whose nodes fill them in.
    Missing,
    /// Those, and those of another embedder.
    Other,
}

/// A chunk that needs a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleChunk {
    pub chunk_id: i64,
    pub text: String,
}

impl Store {
    /// Homes of memories, of all tenants, those after `after` in an order of their own. With
    /// [`Stale::Missing`] only homes with chunks that have no vector.
    pub async fn homes_to_embed(
        &self,
        stale: Stale,
        after: Option<&Home>,
        limit: u32,
    ) -> Result<Vec<Home>, StoreError> {
        let query = sqlx::query("select * from scopes_to_embed($1, $2, $3, $4, $5)")
            .bind(stale == Stale::Other)
            .bind(after.map(Home::org))
            .bind(after.map(Home::user))
            .bind(after.map(Home::project))
            .bind(i64::from(limit));
        self.database.call(query).await?.iter().map(Home::from_row).collect()
    }

    /// The chunks of a home that need a vector of `embedding_model`, those after `after` in the
    /// order of their numbers.
    pub async fn chunks_to_embed(
        &self,
        home: &Home,
        stale: Stale,
        embedding_model: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StaleChunk>, StoreError> {
        let mut tx = self.database.begin(Tenant::Home(home)).await?;
        let rows = sqlx::query(
            "select chunk_id, chunk_text from memory_chunks
             where org_id = $1 and user_id = $2 and project_id = $3 and chunk_id > $4
               and case when $5 then embedding is null or embedding_model <> $6
                        else embedding is null
                             and coalesce($6 = (select embedder from memory_embedder), true) end
             order by chunk_id
             limit $7",
        )
        .bind(home.org())
        .bind(home.user())
        .bind(home.project())
        .bind(after)
        .bind(stale == Stale::Other)
        .bind(embedding_model)
        .bind(i64::from(limit))
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        rows.iter()
            .map(|row| {
                Ok(StaleChunk {
                    chunk_id: row.try_get("chunk_id")?,
                    text: row.try_get("chunk_text")?,
                })
            })
            .collect()
    }

    /// Writes vectors. A chunk that is gone, because its memory was edited or moved meanwhile, is
    /// skipped.
    pub async fn set_embeddings(
        &self,
        home: &Home,
        embedding_model: &str,
        embeddings: &[(i64, Vec<f32>)],
    ) -> Result<(), StoreError> {
        let (chunk_ids, vectors): (Vec<i64>, Vec<Vector>) =
            embeddings.iter().map(|(id, vector)| (*id, Vector::from(vector.clone()))).unzip();
        let mut tx = self.database.begin(Tenant::Home(home)).await?;
        sqlx::query(
            "with used as (
                 update memory_embedder set is_used = true where not is_used and embedder = $4
             )
             update memory_chunks c
             set embedding = n.embedding, embedding_model = $4
             from unnest($5::bigint[], $6::vector[]) as n (chunk_id, embedding)
             where c.org_id = $1 and c.user_id = $2 and c.project_id = $3
               and c.chunk_id = n.chunk_id",
        )
        .bind(home.org())
        .bind(home.user())
        .bind(home.project())
        .bind(embedding_model)
        .bind(chunk_ids)
        .bind(vectors)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}
