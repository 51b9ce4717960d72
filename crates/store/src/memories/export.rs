//! Whole memories, oldest first, a page at a time, so that they can be written to another scope in
//! the same order.

use jiff_sqlx::ToSqlx;
use protocol::{
    memory::{Memory, MemoryFilters},
    page::{Page, PageLimit},
};
use sqlx::{Row, types::Json};

use super::{MemoryCursor, instant, is_day, kinds, memory_from};
use crate::{error::StoreError, events::PAGE_MAX_BYTES, rows::cut_page_at, scoped::Scoped};

impl Scoped {
    /// Memories with all of their text, oldest first, those after `cursor`. A page is also cut at
    /// about [`PAGE_MAX_BYTES`].
    pub async fn export_memories(
        &self,
        filters: &MemoryFilters,
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
                       and ($6::text[] is null or type = any($6))
                       and ($7::text is null or group_key = $7)
                       and ($8::jsonb is null or metadata @> $8)
                       and ($9::timestamptz is null or $9 <= occurred_at
                            + case when $13 then occurred_offset_s else 0 end * interval '1 s')
                       and ($10::timestamptz is null or $10 > occurred_at
                            + case when $14 then occurred_offset_s else 0 end * interval '1 s')
                     order by created_at, memory_id
                     limit $11
                 ) found
             ) measured
             where bytes_before < $12
             order by created_at, memory_id",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(cursor.map(|cursor| cursor.created_at.to_sqlx()))
        .bind(cursor.map(|cursor| cursor.id.uuid()))
        .bind(kinds(filters))
        .bind(&filters.group_key)
        .bind(filters.metadata.as_ref().map(Json))
        .bind(instant(filters.occurred_after))
        .bind(instant(filters.occurred_before))
        .bind(i64::from(limit.get()) + 1)
        .bind(PAGE_MAX_BYTES)
        .bind(is_day(filters.occurred_after))
        .bind(is_day(filters.occurred_before));
        let rows = self.read(query).await?;
        let found = rows.first().map(|row| row.try_get("found_count")).transpose()?;
        let memories = rows.iter().map(memory_from).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(cut_page_at(memories, found, limit, |last| MemoryCursor::of(last).to_string()))
    }
}
