//! The embedder of this database's vectors: one, for all tenants. A node asks for it at its start,
//! and a reindex changes it. A statement that writes vectors records that it is in use; vectors of
//! another embedder are left out (see `chunks`).

use sqlx::Row;

use crate::{error::StoreError, handle::Store, presence::LOCK_CLASS};

impl Store {
    /// Makes `embedder` the database's, unless another is in force: then it returns that one, whose
    /// vectors cannot be compared. Another is in force when it is recorded, and a vector of it was
    /// stored or a worker is alive.
    pub async fn adopt_embedder(&self, embedder: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("select adopt_embedder($1, $2)").bind(embedder).bind(LOCK_CLASS);
        Ok(self.database.call_one(query).await?.try_get(0)?)
    }

    /// Makes `embedder` this database's, whichever was: its vectors are there now.
    pub async fn set_embedder(&self, embedder: &str) -> Result<(), StoreError> {
        let query = sqlx::query(
            "insert into memory_embedder (embedder, is_used) values ($1, true)
             on conflict (is_only) do update
             set embedder = excluded.embedder, is_used = excluded.is_used",
        );
        self.database.call(query.bind(embedder)).await?;
        Ok(())
    }
}
