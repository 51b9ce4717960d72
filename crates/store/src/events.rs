//! Pages of a run's events, and the walk along a run that pages and streams share.

use protocol::{
    event::StoredEvent,
    id::{CallId, RunId, SpanId},
    page::{Page, PageLimit},
    run::RunStatus,
};
use serde_json::Value;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    error::StoreError,
    rows::{get_json, get_parsed, get_timestamp, get_u64, get_word, to_i64},
    scoped::Scoped,
};

/// Most bytes of payloads, or of texts, of one page; but always one row.
pub const PAGE_MAX_BYTES: i64 = 4 * 1024 * 1024;

/// How many generations back the results of calls are looked for that a fork took over.
pub const FORKS_MAX: u32 = 64;

/// Where to begin in a run, what to leave out, and when to stop.
pub(crate) struct Walk<'a> {
    /// The last event that was seen; 0 for none.
    pub(crate) seq: u64,
    /// The deltas after it that were seen.
    pub(crate) n: u64,
    pub(crate) with_deltas: bool,
    /// Of events, only those of these types; all if there are none.
    pub(crate) types: &'a [String],
    pub(crate) frames_max: i64,
    /// Nothing is read after the frame that reaches it.
    pub(crate) bytes_max: i64,
}

/// What a tool call gave.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    pub tool: String,
    pub result: Value,
}

/// What a walk found.
pub(crate) struct Stretch {
    pub(crate) rows: Vec<PgRow>,
    /// Whether more follows already.
    pub(crate) has_more: bool,
    pub(crate) status: RunStatus,
    /// The number of the run's last event.
    pub(crate) last_seq: u64,
}

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
        let walk = Walk {
            seq: cursor,
            n: 0,
            with_deltas: false,
            types,
            frames_max: i64::from(limit.get()),
            bytes_max: PAGE_MAX_BYTES,
        };
        let stretch = self.walk_run(run_id, walk).await?;
        let items: Vec<_> =
            stretch.rows.iter().map(|row| event_from(row, run_id)).collect::<Result<_, _>>()?;
        let last = items.last().filter(|_| stretch.has_more);
        Ok(Page { next_cursor: last.map(|event| event.seq.to_string()), items })
    }

    /// What a tool call of a run gave, as its event has it; none where the call has no result there.
    /// What a fork took over is found with the run it was made of, [`FORKS_MAX`] generations back.
    pub async fn tool_result(
        &self,
        run_id: RunId,
        call_id: CallId,
    ) -> Result<Option<ToolResult>, StoreError> {
        let (mut at, mut through) = (Some(run_id), i32::MAX);
        for _ in 0..=FORKS_MAX {
            let Some(run_id) = at else { break };
            let Some(row) = self.tool_result_row(run_id, call_id, through).await? else { break };
            if let Some(tool) = row.try_get("tool")? {
                return Ok(Some(ToolResult { tool, result: get_json(&row, "result")? }));
            }
            at = row.try_get::<Option<Uuid>, _>("parent_run_id")?.map(RunId::from_uuid);
            through = through.min(row.try_get::<Option<i32>, _>("forked_from_step")?.unwrap_or(0));
        }
        Ok(None)
    }

    async fn tool_result_row(
        &self,
        run_id: RunId,
        call_id: CallId,
        through_step: i32,
    ) -> Result<Option<PgRow>, StoreError> {
        // The span is compared first: it stands in the row itself, a large payload beside it.
        let query = sqlx::query(
            "select r.parent_run_id, r.forked_from_step, e.payload ->> 'tool' as tool, e.payload -> 'result' as result
             from runs r
             left join events e
                 on e.org_id = r.org_id and e.run_id = r.run_id and e.span_id = $5
                 and e.type = 'tool.result' and e.step <= $6
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
             limit 1",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(SpanId::derive(run_id, &call_id.to_string()).bits())
        .bind(through_step);
        Ok(self.read(query).await?.pop())
    }

    /// Reads a stretch of a run, and no row that it does not return.
    pub(crate) async fn walk_run(
        &self,
        run_id: RunId,
        walk: Walk<'_>,
    ) -> Result<Stretch, StoreError> {
        let query = sqlx::query(
            "select * from run_frames(
                 p_org => $1, p_user => $2, p_project => $3, p_run => $4, p_seq => $5, p_n => $6,
                 p_with_deltas => $7, p_types => $8, p_frames_max => $9, p_bytes_max => $10)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(to_i64(walk.seq))
        .bind(to_i64(walk.n))
        .bind(walk.with_deltas)
        .bind((!walk.types.is_empty()).then_some(walk.types))
        .bind(walk.frames_max)
        .bind(walk.bytes_max);
        let mut rows = self.call(query).await?;
        let end = rows.pop().ok_or(StoreError::NotFound)?;
        let last_seq = get_u64(&end, "last_seq")?;
        if walk.seq > last_seq {
            return Err(StoreError::CursorBeyondEnd);
        }
        Ok(Stretch {
            rows,
            has_more: end.try_get("has_more")?,
            status: get_word(&end, "status")?,
            last_seq,
        })
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
