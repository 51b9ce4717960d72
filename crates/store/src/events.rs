//! Events as a tenant reads them a page at a time.

use protocol::{
    event::StoredEvent,
    id::RunId,
    page::{Page, PageLimit},
};
use sqlx::{Row, postgres::PgRow};

use crate::{
    error::StoreError,
    rows::{cut_page_at, get_parsed, get_timestamp, get_u64},
    scoped::Scoped,
};

/// Most bytes of payloads, or of texts, of one page; but always one row.
pub const PAGE_MAX_BYTES: i64 = 4 * 1024 * 1024;

impl Scoped {
    /// Events after `cursor`, in order; `types` filters before the page is cut. A page is also cut
    /// at about [`PAGE_MAX_BYTES`].
    pub async fn list_events(
        &self,
        run_id: RunId,
        cursor: u64,
        limit: PageLimit,
        types: &[String],
    ) -> Result<Page<StoredEvent>, StoreError> {
        let query = sqlx::query(
            "select r.session_key, e.seq, e.ts, e.agent_id, e.step, e.span_id, e.parent_span_id,
                    e.type, e.payload::text as payload, e.contains_secrets, e.found_count
             from runs r
             left join lateral (
                 select *, count(*) over () as found_count,
                        sum(octet_length(payload::text)) over (order by seq)
                        - octet_length(payload::text) as bytes_before
                 from (
                     select * from events
                     where org_id = r.org_id and run_id = r.run_id and seq > $5
                       and (cardinality($6::text[]) = 0 or type = any ($6))
                     order by seq
                     limit $7
                 ) found
             ) e on e.bytes_before < $8
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
             order by e.seq",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(i64::try_from(cursor).unwrap_or(i64::MAX))
        .bind(types)
        .bind(i64::from(limit.get()) + 1)
        .bind(PAGE_MAX_BYTES);
        let rows = self.read(query).await?;
        let first = rows.first().ok_or(StoreError::NotFound)?; // The run's row alone is one.
        let found: Option<i64> = first.try_get("found_count")?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<Option<i64>, _>("seq")?.is_some() {
                events.push(event_from(row, run_id)?);
            }
        }
        Ok(cut_page_at(events, found, limit, |event| event.seq.to_string()))
    }
}

pub(crate) fn event_from(row: &PgRow, run_id: RunId) -> Result<StoredEvent, StoreError> {
    let step: Option<i32> = row.try_get("step")?;
    Ok(StoredEvent {
        v: protocol::event::ENVELOPE_VERSION,
        seq: get_u64(row, "seq")?,
        ts: get_timestamp(row, "ts")?,
        run_id,
        session_key: get_parsed(row, "session_key")?,
        agent_id: get_parsed(row, "agent_id")?,
        step_id: step.map(|step| protocol::event::step_id(step.unsigned_abs())),
        span_id: protocol::id::SpanId::from_bits(row.try_get("span_id")?),
        parent_span_id: row
            .try_get::<Option<i64>, _>("parent_span_id")?
            .map(protocol::id::SpanId::from_bits),
        type_name: row.try_get("type")?,
        payload: serde_json::value::RawValue::from_string(row.try_get("payload")?)
            .map_err(StoreError::unreadable)?,
        redaction: protocol::event::Redaction {
            contains_secrets: row.try_get("contains_secrets")?,
        },
    })
}
