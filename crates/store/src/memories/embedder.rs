//! Which embedder the vectors of this database are of: one, for all tenants. A node asks at its
//! start, and a reindex changes it. Whoever writes vectors notes that it is used; those of another
//! are left out (see `chunks`).

use sqlx::Row;

use crate::{error::StoreError, handle::Store, presence::LOCK_CLASS};

impl Store {
    /// Makes `embedder` this database's, unless another is in force: then it answers that one, whose
    /// vectors cannot be compared. Another is in force when it is noted, and a vector of it was kept
    /// or a worker is alive.
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
