//! Many runs at once, for one follower: which of them have something new, and which runs of a scope
//! have begun or ended.

use std::time::Duration;

use protocol::{
    id::RunId,
    run::{RunNews, RunStatus},
    time::Timestamp,
};
use sqlx::{Row, postgres::PgRow};

use crate::{
    error::StoreError,
    rows::{
        get_optional_timestamp, get_parsed, get_timestamp, get_u32, get_u64, get_usage, get_word,
        to_i64,
    },
    scoped::Scoped,
    stream::StreamCursor,
};

/// Runs of a scope whose begin and end are followed: the newest.
pub const RUNS_FOLLOWED: i64 = 500;
/// How long a change may take from its stamp to its commit: two statements at their time limit.
pub const COMMIT_LAG: Duration = Duration::from_secs(12);

/// How a run stands, seen from a place in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStanding {
    pub run_id: RunId,
    pub status: RunStatus,
    /// The number of its last event.
    pub last_seq: u64,
    /// Text was said since that place.
    pub has_deltas: bool,
}

/// Which runs of a scope have begun or ended.
#[derive(Debug, Clone)]
pub struct ScopeNews {
    /// The database's time of this reading.
    pub now: Timestamp,
    /// In the order of their last change.
    pub runs: Vec<RunNews>,
}

impl Scoped {
    /// How runs stand, each seen from a place. Those that are not in this scope are missing.
    pub async fn stand(
        &self,
        places: &[(RunId, StreamCursor)],
    ) -> Result<Vec<RunStanding>, StoreError> {
        let runs: Vec<_> = places.iter().map(|(run_id, _)| run_id.uuid()).collect();
        let seqs: Vec<_> = places.iter().map(|(_, at)| to_i64(at.seq)).collect();
        let deltas: Vec<_> = places.iter().map(|(_, at)| to_i64(at.n)).collect();
        let query = sqlx::query(
            "select r.run_id, r.status, r.last_seq,
                    exists (select from run_deltas d
                            where d.org_id = r.org_id and d.run_id = r.run_id
                              and (d.seq, d.n) > (p.seq, p.n)) as has_deltas
             from unnest($4::uuid[], $5::bigint[], $6::bigint[]) as p (run_id, seq, n)
             cross join lateral (
                 select org_id, run_id, status, last_seq from runs
                 where org_id = $1 and user_id = $2 and project_id = $3 and run_id = p.run_id
             ) r",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(runs)
        .bind(seqs)
        .bind(deltas);
        let rows = self.read(query).await?;
        rows.iter()
            .map(|row| {
                Ok(RunStanding {
                    run_id: RunId::from_uuid(row.try_get("run_id")?),
                    status: get_word(row, "status")?,
                    last_seq: get_u64(row, "last_seq")?,
                    has_deltas: row.try_get("has_deltas")?,
                })
            })
            .collect()
    }

    /// Runs of the scope, of its newest [`RUNS_FOLLOWED`], that were accepted, began or ended after
    /// `since`; none without it.
    pub async fn news(&self, since: Option<Timestamp>) -> Result<ScopeNews, StoreError> {
        let query = sqlx::query(
            "select t.now, n.*
             from (select clock_timestamp() as now) t
             left join lateral (
                 select *, greatest(created_at, started_at, ended_at) as changed_at
                 from (
                     select run_id, status, session_key, agent_id, left(input, 200) as input,
                            created_at, started_at, ended_at, step_count, tool_call_count,
                            input_tokens, output_tokens, reasoning_tokens, cached_tokens, cost_usd,
                            model, parent_run_id
                     from runs
                     where org_id = $1 and user_id = $2 and project_id = $3
                     order by run_id desc
                     limit $5
                 ) newest
             ) n on n.changed_at > to_timestamp($4)
             order by n.changed_at, n.run_id",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(since.map(|since| since.micros() as f64 / 1_000_000.0))
        .bind(RUNS_FOLLOWED);
        let rows = self.read(query).await?;
        let first = rows.first().ok_or_else(|| StoreError::unreadable("no time"))?;
        let has_run = |row: &&PgRow| {
            row.try_get::<Option<uuid::Uuid>, _>("run_id").is_ok_and(|run| run.is_some())
        };
        Ok(ScopeNews {
            now: get_timestamp(first, "now")?,
            runs: rows.iter().filter(has_run).map(news_from).collect::<Result<_, _>>()?,
        })
    }
}

fn news_from(row: &PgRow) -> Result<RunNews, StoreError> {
    let started_at = get_optional_timestamp(row, "started_at")?;
    let ended_at = get_optional_timestamp(row, "ended_at")?;
    Ok(RunNews {
        run_id: RunId::from_uuid(row.try_get("run_id")?),
        status: get_word(row, "status")?,
        session_key: get_parsed(row, "session_key")?,
        agent_id: get_parsed(row, "agent_id")?,
        input: row.try_get("input")?,
        created_at: get_timestamp(row, "created_at")?,
        started_at,
        ended_at,
        duration_ms: started_at.zip(ended_at).map(|(start, end)| end.millis_since(start)),
        step_count: get_u32(row, "step_count")?,
        tool_call_count: get_u32(row, "tool_call_count")?,
        usage: get_usage(row)?,
        cost_usd: row.try_get("cost_usd")?,
        model: row.try_get("model")?,
        parent_run_id: row.try_get::<Option<uuid::Uuid>, _>("parent_run_id")?.map(RunId::from_uuid),
        changed_at: get_timestamp(row, "changed_at")?,
    })
}
