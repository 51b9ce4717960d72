//! Memories whole, oldest first, a page at a time: what another scope can be filled with so that
//! they come in the same order there.

use jiff_sqlx::ToSqlx;
use protocol::{
    memory::{Memory, MemoryType},
    page::{Page, PageLimit},
};
use sqlx::Row;

use super::{MemoryCursor, MemoryFilter, memory_from};
use crate::{error::StoreError, events::PAGE_MAX_BYTES, rows::cut_page_at, scoped::Scoped};

impl Scoped {
    /// Memories with all of their text, oldest first, those after `cursor`. A page is also cut at
    /// about [`PAGE_MAX_BYTES`].
    pub async fn export_memories(
        &self,
        filter: &MemoryFilter,
        cursor: Option<MemoryCursor>,
        limit: PageLimit,
    ) -> Result<Page<Memory>, StoreError> {
        let query = sqlx::query(
            // The length of a text that lies elsewhere is known without fetching it.
            "select * from (
                 select *, count(*) over () as found_count,
                        sum(octet_length(text)) over (order by created_at, memory_id)
                        - octet_length(text) as bytes_before
                 from (
                     select * from memories
                     where org_id = $1 and user_id = $2 and project_id = $3
                       and ($4::timestamptz is null or (created_at, memory_id) > ($4, $5))
                       and ($6::text is null or type = $6)
                       and ($7::text is null or group_key = $7)
                     order by created_at, memory_id
                     limit $8
                 ) found
             ) measured
             where bytes_before < $9
             order by created_at, memory_id",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(cursor.map(|cursor| cursor.created_at.to_sqlx()))
        .bind(cursor.map(|cursor| cursor.id.uuid()))
        .bind(filter.kind.map(MemoryType::as_str))
        .bind(&filter.group_key)
        .bind(i64::from(limit.get()) + 1)
        .bind(PAGE_MAX_BYTES);
        let rows = self.read(query).await?;
        let found = rows.first().map(|row| row.try_get("found_count")).transpose()?;
        let memories = rows.iter().map(memory_from).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(cut_page_at(memories, found, limit, |last| MemoryCursor::of(last).to_string()))
    }
}
