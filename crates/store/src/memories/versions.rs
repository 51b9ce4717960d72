//! Versions: the content of a memory before each edit, read a page at a time. They are deleted with
//! the memory, by the foreign key.

use protocol::{
    id::MemoryId,
    memory::version::MemoryVersion,
    page::{Page, PageLimit},
};
use sqlx::{Row, postgres::PgRow, types::Json};

use super::{MemoryChange, home::MemoryHome};
use crate::{
    error::StoreError,
    events::PAGE_MAX_BYTES,
    rows::{cut_page_at, get_json, get_timestamp, get_u32, to_i64},
    transaction::Transaction,
};

/// Most versions of a memory that are kept; the oldest go first.
pub const VERSIONS_MAX: i32 = 50;

/// What a change would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Differs {
    /// Whether the text changes.
    pub(super) in_text: bool,
    /// Whether text, metadata or importance changes.
    pub(super) at_all: bool,
}

impl MemoryHome {
    /// Keeps the present content of a memory as a version, if `change` changes anything.
    pub(super) async fn keep_version(
        &self,
        tx: &mut Transaction,
        id: MemoryId,
        change: &MemoryChange,
        by: Option<&str>,
    ) -> Result<Differs, StoreError> {
        let row = sqlx::query(
            "with memory as (
                 select *, text <> coalesce($5, text) as differs_in_text,
                        (text, metadata, importance)
                        <> (coalesce($5, text), coalesce($6, metadata), coalesce($7, importance))
                        as differs
                 from memories
                 where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4
             ), version as (
                 insert into memory_versions (org_id, memory_id, version, user_id, project_id, text,
                                              metadata, importance, replaced_by)
                 select org_id, memory_id,
                        1 + coalesce((select max(version) from memory_versions v
                                      where v.org_id = $1 and v.memory_id = $4), 0),
                        user_id, project_id, text, metadata, importance, $8
                 from memory where differs
                 returning version
             ), outdated as (
                 delete from memory_versions v using version
                 where v.org_id = $1 and v.memory_id = $4 and v.version <= version.version - $9
             )
             select differs_in_text, differs from memory",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .bind(change.content.as_ref().map(|content| &content.text))
        .bind(change.metadata.as_ref().map(Json))
        .bind(change.importance)
        .bind(by)
        .bind(VERSIONS_MAX)
        .fetch_optional(tx)
        .await?
        .ok_or(StoreError::NotFound)?;
        Ok(Differs { in_text: row.try_get("differs_in_text")?, at_all: row.try_get("differs")? })
    }

    /// Moves the versions of a memory to another home.
    pub(super) async fn move_versions(
        &self,
        tx: &mut Transaction,
        id: MemoryId,
        to: &Self,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update memory_versions set user_id = $5, project_id = $6
             where org_id = $1 and user_id = $2 and project_id = $3 and memory_id = $4",
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

    /// The versions of a memory, newest first, those below `cursor`. A page is also cut at about
    /// [`PAGE_MAX_BYTES`].
    pub async fn list_memory_versions(
        &self,
        id: MemoryId,
        cursor: Option<u64>,
        limit: PageLimit,
    ) -> Result<Page<MemoryVersion>, StoreError> {
        let query = sqlx::query(
            "select v.version, v.text, v.metadata, v.importance, v.replaced_at, v.replaced_by,
                    v.found_count
             from memories m
             left join lateral (
                 select *, count(*) over () as found_count,
                        sum(octet_length(text)) over (order by version desc) - octet_length(text)
                        as bytes_before
                 from (
                     select * from memory_versions
                     where org_id = m.org_id and user_id = m.user_id
                       and project_id = m.project_id and memory_id = m.memory_id
                       and ($5::bigint is null or version < $5)
                     order by version desc
                     limit $6
                 ) found
             ) v on v.bytes_before < $7
             where m.org_id = $1 and m.user_id = $2 and m.project_id = $3 and m.memory_id = $4
             order by v.version desc",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(id.uuid())
        .bind(cursor.map(to_i64))
        .bind(i64::from(limit.get()) + 1)
        .bind(PAGE_MAX_BYTES);
        let rows = self.read(query).await?;
        let first = rows.first().ok_or(StoreError::NotFound)?; // The memory's row alone is one.
        let found: Option<i64> = first.try_get("found_count")?;
        let mut versions = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<Option<i32>, _>("version")?.is_some() {
                versions.push(version_from(row)?);
            }
        }
        Ok(cut_page_at(versions, found, limit, |version| version.version.to_string()))
    }
}

fn version_from(row: &PgRow) -> Result<MemoryVersion, StoreError> {
    Ok(MemoryVersion {
        version: get_u32(row, "version")?,
        text: row.try_get("text")?,
        metadata: get_json(row, "metadata")?,
        importance: row.try_get("importance")?,
        replaced_at: get_timestamp(row, "replaced_at")?,
        replaced_by: row.try_get("replaced_by")?,
    })
}
