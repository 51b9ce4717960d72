//! What a trace needs of a run's events: which spans they speak of, without their payloads; and the
//! payload of one span, a range at a time. How spans are made of it is not decided here.

use protocol::{
    id::{RunId, SpanId},
    message::Usage,
    name::AgentId,
    run::RunStatus,
    time::Timestamp,
    trace::{SpanPart, SpanPayload},
};
use serde_json::{Map, Value};
use sqlx::{Row, postgres::PgRow};

use crate::{
    error::StoreError,
    rows::{get_json, get_parsed, get_timestamp, get_u64, get_usage, get_word, to_i64},
    scoped::Scoped,
};

/// Most events of one read.
pub const OUTLINE_EVENTS_MAX: u32 = 10_000;
/// Most bytes of payloads that one read looks into, as they are stored; but always one event.
const OUTLINE_MAX_BYTES: i64 = 32 * 1024 * 1024;

/// Events of a run after a place, in their order, and how the run stands.
#[derive(Debug, Clone)]
pub struct RunOutline {
    pub status: RunStatus,
    /// The number of the run's last event.
    pub last_seq: u64,
    pub agent_id: AgentId,
    /// The sum of its model calls.
    pub usage: Usage,
    pub cost_usd: f64,
    /// When the run ended.
    pub ended_at: Option<Timestamp>,
    /// When the event at the cursor was written; none at the beginning.
    pub before: Option<Timestamp>,
    pub events: Vec<EventOutline>,
}

/// An event, as much of it as a trace needs.
#[derive(Debug, Clone)]
pub struct EventOutline {
    pub seq: u64,
    pub ts: Timestamp,
    pub step: Option<u32>,
    /// The span that it speaks of.
    pub span_id: SpanId,
    /// The span around that.
    pub parent_span_id: Option<SpanId>,
    /// A credential was seen in it.
    pub contains_secrets: bool,
    pub fact: TraceFact,
}

/// What happened, without what was said.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceFact {
    RunStarted,
    /// The run ended; how, its status says.
    RunEnded,
    StepStarted,
    StepCompleted,
    Recalled {
        hits: u32,
        duration_ms: u64,
    },
    ModelCalled {
        /// `<provider>/<model>`
        model: String,
        usage: Usage,
        cost_usd: f64,
        duration_ms: u64,
    },
    ToolCalled {
        tool: String,
    },
    ToolResult {
        tool: String,
        is_error: bool,
        duration_ms: u64,
    },
    /// Something without length, by its code or type.
    Noted {
        name: String,
    },
}

impl Scoped {
    /// The events of a run after `cursor`, at most [`OUTLINE_EVENTS_MAX`] of them, in one snapshot.
    pub async fn outline(&self, run_id: RunId, cursor: u64) -> Result<RunOutline, StoreError> {
        // The record takes a payload that is stored out of line apart once, whatever is asked of it.
        let query = sqlx::query(
            "select r.status, r.last_seq, r.agent_id, r.ended_at, r.input_tokens, r.output_tokens,
                    r.reasoning_tokens, r.cached_tokens, r.cost_usd as run_cost_usd,
                    e.seq, e.ts, e.step, e.span_id, e.parent_span_id, e.type, e.contains_secrets,
                    p.provider, p.model, p.usage, p.cost_usd, p.tool, p.is_error, p.code,
                    p.duration_ms,
                    case when jsonb_typeof(p.hits) = 'array' then jsonb_array_length(p.hits) end as hits
             from runs r
             left join lateral (
                 select v.*, (sum(v.stored_bytes) over (order by v.seq))::bigint - v.stored_bytes
                             as bytes_before
                 from (
                     select seq, ts, step, span_id, parent_span_id, type, contains_secrets, payload,
                            pg_column_size(payload)::bigint as stored_bytes
                     from events
                     where org_id = r.org_id and run_id = r.run_id and seq >= $5
                     order by seq
                     limit $6
                 ) v
             ) e on e.bytes_before < $7
             left join lateral jsonb_to_record(e.payload) as p (
                 provider text, model text, usage jsonb, cost_usd double precision, tool text,
                 is_error boolean, code text, duration_ms bigint, hits jsonb) on true
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
             order by e.seq",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(to_i64(cursor))
        .bind(i64::from(OUTLINE_EVENTS_MAX) + 1)
        .bind(OUTLINE_MAX_BYTES);
        let rows = self.read(query).await?;
        let run = rows.first().ok_or(StoreError::NotFound)?;
        let mut outline = RunOutline {
            status: get_word(run, "status")?,
            last_seq: get_u64(run, "last_seq")?,
            agent_id: get_parsed(run, "agent_id")?,
            usage: get_usage(run)?,
            cost_usd: run.try_get("run_cost_usd")?,
            ended_at: crate::rows::get_optional_timestamp(run, "ended_at")?,
            before: None,
            events: Vec::with_capacity(rows.len()),
        };
        if cursor > outline.last_seq {
            return Err(StoreError::CursorBeyondEnd);
        }
        for row in &rows {
            match row.try_get::<Option<i64>, _>("seq")?.map(i64::unsigned_abs) {
                None => {} // The run has no events after the cursor.
                Some(seq) if seq <= cursor => outline.before = Some(get_timestamp(row, "ts")?),
                Some(seq) => outline.events.push(event_outline(row, seq)?),
            }
        }
        Ok(outline)
    }

    /// What a span of a run took and gave: of each part `limit` bytes from `offset` on.
    pub async fn span_payload(
        &self,
        run_id: RunId,
        span_id: SpanId,
        offset: u64,
        limit: u32,
    ) -> Result<SpanPayload, StoreError> {
        // What a part is of, and what is left of the payload. Cut here: a result can have megabytes.
        let query = sqlx::query(
            "select e.seq, e.rest, e.contains_secrets,
                    octet_length(i.text)::bigint as input_size, i.is_json as input_is_json,
                    substring(convert_to(i.text, 'UTF8') from $7 for $8) as input,
                    octet_length(o.text)::bigint as output_size, o.is_json as output_is_json,
                    substring(convert_to(o.text, 'UTF8') from $7 for $8) as output
             from runs r
             cross join lateral (
                 select seq, contains_secrets,
                        case type when 'run.started' then payload -> 'input'
                                  when 'memory.recalled' then payload -> 'query'
                                  when 'tool.called' then payload -> 'args' end as input,
                        case type when 'run.completed' then payload -> 'output'
                                  when 'run.failed' then payload -> 'error'
                                  when 'run.cancelled' then payload
                                  when 'run.warning' then payload -> 'message'
                                  when 'run.resumed' then payload
                                  when 'context.compacted' then payload
                                  when 'memory.recalled' then payload -> 'hits'
                                  when 'llm.called' then
                                      case when payload -> 'tool_calls' = '[]' then payload -> 'content'
                                           else jsonb_build_object(
                                                'content', payload -> 'content',
                                                'tool_calls', payload -> 'tool_calls') end
                                  when 'tool.result' then payload -> 'result' end as output,
                        case when type in ('run.cancelled', 'run.resumed', 'context.compacted')
                             then '{}'
                             else payload - array['input', 'query', 'args', 'output', 'error',
                                                  'message', 'hits', 'content', 'tool_calls', 'result']
                        end as rest
                 from events
                 where org_id = r.org_id and run_id = r.run_id
                   and case when $5::bigint is not null
                            then seq = $5 and (type in ('memory.recalled', 'run.warning',
                                                        'run.resumed', 'context.compacted')
                                               or type = 'llm.called' and step is null)
                            else span_id = $6 and type not in ('memory.recalled', 'run.warning',
                                                               'run.resumed', 'context.compacted')
                                 and not (type = 'llm.called' and step is null) end
             ) e
             left join lateral (
                 select e.input #>> '{}' as text,
                        jsonb_typeof(e.input) <> 'string' as is_json) i on true
             left join lateral (
                 select e.output #>> '{}' as text,
                        jsonb_typeof(e.output) <> 'string' as is_json) o on true
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.run_id = $4
             order by e.seq",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(span_id.event().map(to_i64))
        .bind(span_id.bits())
        .bind(i32::try_from(offset.saturating_add(1)).unwrap_or(i32::MAX))
        .bind(i32::try_from(limit).unwrap_or(i32::MAX));
        let rows = self.read(query).await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound);
        }
        let mut payload = SpanPayload {
            span_id,
            events: Vec::with_capacity(rows.len()),
            input: None,
            output: None,
            facts: Map::new(),
        };
        for row in &rows {
            payload.events.push(get_u64(row, "seq")?);
            // What was said first is what was asked, and what was said last is what came of it.
            if payload.input.is_none() {
                payload.input = part(row, "input", offset)?;
            }
            payload.output = part(row, "output", offset)?.or(payload.output);
            if let Value::Object(rest) = get_json(row, "rest")? {
                payload.facts.extend(rest);
            }
            if row.try_get("contains_secrets")? {
                payload.facts.insert("contains_secrets".to_owned(), true.into());
            }
        }
        Ok(payload)
    }
}

fn event_outline(row: &PgRow, seq: u64) -> Result<EventOutline, StoreError> {
    let duration_ms = || {
        Ok::<_, StoreError>(
            row.try_get::<Option<i64>, _>("duration_ms")?.map_or(0, i64::unsigned_abs),
        )
    };
    let tool = || row.try_get::<Option<String>, _>("tool").map(Option::unwrap_or_default);
    let type_name: &str = row.try_get("type")?;
    let fact = match type_name {
        "run.started" => TraceFact::RunStarted,
        "run.completed" | "run.failed" | "run.cancelled" => TraceFact::RunEnded,
        "step.started" => TraceFact::StepStarted,
        "step.completed" => TraceFact::StepCompleted,
        "memory.recalled" => TraceFact::Recalled {
            hits: row.try_get::<Option<i32>, _>("hits")?.map_or(0, i32::unsigned_abs),
            duration_ms: duration_ms()?,
        },
        "llm.called" => TraceFact::ModelCalled {
            model: format!(
                "{}/{}",
                row.try_get::<Option<&str>, _>("provider")?.unwrap_or_default(),
                row.try_get::<Option<&str>, _>("model")?.unwrap_or_default()
            ),
            usage: crate::rows::get_optional_json(row, "usage")?.unwrap_or_default(),
            cost_usd: row.try_get::<Option<f64>, _>("cost_usd")?.unwrap_or_default(),
            duration_ms: duration_ms()?,
        },
        "tool.called" => TraceFact::ToolCalled { tool: tool()? },
        "tool.result" => TraceFact::ToolResult {
            tool: tool()?,
            is_error: row.try_get::<Option<bool>, _>("is_error")?.unwrap_or_default(),
            duration_ms: duration_ms()?,
        },
        "run.warning" => {
            TraceFact::Noted { name: row.try_get::<Option<String>, _>("code")?.unwrap_or_default() }
        }
        other => TraceFact::Noted { name: other.to_owned() },
    };
    Ok(EventOutline {
        seq,
        ts: get_timestamp(row, "ts")?,
        step: row.try_get::<Option<i32>, _>("step")?.map(i32::unsigned_abs),
        span_id: SpanId::from_bits(row.try_get("span_id")?),
        parent_span_id: row.try_get::<Option<i64>, _>("parent_span_id")?.map(SpanId::from_bits),
        contains_secrets: row.try_get("contains_secrets")?,
        fact,
    })
}

/// A range of a part, without the pieces of characters at its ends.
fn part(row: &PgRow, name: &str, offset: u64) -> Result<Option<SpanPart>, StoreError> {
    let Some(size) = row.try_get::<Option<i64>, _>(&*format!("{name}_size"))? else {
        return Ok(None);
    };
    let size = size.unsigned_abs();
    let bytes: Vec<u8> = row.try_get(name)?;
    let lead = bytes.iter().take_while(|byte| is_continued(**byte)).count();
    let (offset, bytes) = (offset + lead as u64, bytes.get(lead..).unwrap_or_default());
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => bytes
            .get(..error.valid_up_to())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default(),
    };
    Ok(Some(SpanPart {
        is_json: row.try_get(&*format!("{name}_is_json"))?,
        size,
        offset: offset.min(size),
        truncated: (whole.len() as u64) < size,
        text: whole.to_owned(),
    }))
}

/// A byte in the middle of a character (RFC 3629).
fn is_continued(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}
