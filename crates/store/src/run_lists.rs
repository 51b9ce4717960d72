//! Lists of runs, and what they come to together.
//!
//! Whatever is asked for, a page is made of a bounded stretch of the runs of a scope or session, along an
//! index: a page may have few runs and yet not be the last.

use protocol::{
    id::RunId,
    limits::RUN_TEXT_IN_LIST_MAX_BYTES,
    name::{AgentId, SessionKey},
    page::{Page, PageLimit},
    run::{Run, RunStatus, RunSummary, StatusCount},
    time::Timestamp,
};
use sqlx::{
    AssertSqlSafe, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use crate::{
    error::StoreError,
    events::PAGE_MAX_BYTES,
    rows::{cut_page_at, get_optional_millis, get_timestamp, get_u64, get_usage, to_i64},
    runs::{run_columns, run_from},
    scoped::Scoped,
};

/// Most runs that are looked at for one page.
pub const LOOKED_AT_MAX: i64 = 5_000;
/// Most runs that are summed up: the newest.
pub const SUMMED_UP_MAX: i64 = 20_000;

/// Which runs to list; what is left out is any.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only those that stand in one of these.
    pub statuses: Vec<RunStatus>,
    /// Only those of this conversation.
    pub session_key: Option<SessionKey>,
    /// Only those of this agent.
    pub agent_id: Option<AgentId>,
    /// Only forks of this run.
    pub parent: Option<RunId>,
    /// Only those with this text in the beginning of their input, whatever its case.
    pub text: Option<String>,
    /// Only those that were accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that were accepted before.
    pub until: Option<Timestamp>,
    pub min_cost_usd: Option<f64>,
    pub max_cost_usd: Option<f64>,
    /// Only those that took so long, and have ended.
    pub min_duration_ms: Option<u64>,
    pub max_duration_ms: Option<u64>,
}

impl RunFilter {
    /// The runs to look at, newest first: `run_id`, and whether it `matches`. Which index leads to them
    /// depends on what is asked for.
    fn looked(&self, columns: &str) -> String {
        let session = match &self.session_key {
            Some(_) => "session_key = $8 and session_key <> ''",
            None => "$8::text is null",
        };
        let parent = match self.parent {
            Some(_) => "parent_run_id = $9",
            None => "$9::uuid is null",
        };
        format!(
            "select run_id{columns},
                    ($10::text[] is null or status = any ($10))
                    and ($11::text is null or agent_id = $11)
                    and ($12::text is null
                         or position(lower($12) in lower(left(input, {RUN_TEXT_IN_LIST_MAX_BYTES}))) > 0)
                    and ($13::double precision is null or cost_usd >= $13)
                    and ($14::double precision is null or cost_usd <= $14)
                    and ($15::bigint is null
                         or extract(epoch from ended_at - started_at) * 1000 >= $15)
                    and ($16::bigint is null
                         or extract(epoch from ended_at - started_at) * 1000 <= $16) as matches
             from runs
             where org_id = $1 and user_id = $2 and project_id = $3
               and ($4::uuid is null or run_id < $4) and ($6::uuid is null or run_id >= $6)
               and ($7::uuid is null or run_id < $7) and {session} and {parent}
             order by run_id desc
             limit $5"
        )
    }

    fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
        scoped: &'q Scoped,
        cursor: Option<RunId>,
        most: i64,
    ) -> Query<'q, Postgres, PgArguments> {
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        query
            .bind(scoped.org())
            .bind(scoped.user())
            .bind(scoped.project())
            .bind(cursor.map(RunId::uuid))
            .bind(most)
            .bind(self.since.map(|at| RunId::first_at(at).uuid()))
            .bind(self.until.map(|at| RunId::first_at(at).uuid()))
            .bind(self.session_key.as_ref().map(SessionKey::as_str))
            .bind(self.parent.map(RunId::uuid))
            .bind((!statuses.is_empty()).then_some(statuses))
            .bind(self.agent_id.as_ref().map(AgentId::as_str))
            .bind(self.text.as_deref())
            .bind(self.min_cost_usd)
            .bind(self.max_cost_usd)
            .bind(self.min_duration_ms.map(to_i64))
            .bind(self.max_duration_ms.map(to_i64))
    }
}

impl Scoped {
    /// Runs, newest first, those before `cursor`; of long texts the first
    /// [`RUN_TEXT_IN_LIST_MAX_BYTES`]. A page is made of [`LOOKED_AT_MAX`] runs at most, and cut at about
    /// [`PAGE_MAX_BYTES`].
    pub async fn list_runs(
        &self,
        filter: &RunFilter,
        cursor: Option<RunId>,
        limit: PageLimit,
    ) -> Result<Page<Run>, StoreError> {
        let (looked, columns) = (filter.looked(""), run_columns(RUN_TEXT_IN_LIST_MAX_BYTES));
        let statement = format!(
            "with looked as materialized ({looked}),
             found as (
                 select run_id from looked where matches order by run_id desc limit $17
             ), page as (
                 select *, count(*) over () as found_count,
                        (sum(row_bytes) over (order by run_id desc))::bigint - row_bytes
                        as bytes_before
                 from (
                     select *, octet_length(input)::bigint + coalesce(octet_length(output), 0)
                               + octet_length(metadata::text)
                               + coalesce(octet_length(error::text), 0) as row_bytes
                     from (
                         select {columns} from runs
                         where org_id = $1 and user_id = $2 and project_id = $3
                           and run_id in (select run_id from found)
                     ) whole
                 ) measured
             )
             select l.looked_count, l.looked_last, p.*
             from (select (select count(*) from looked) as looked_count,
                          (select run_id from looked order by run_id limit 1) as looked_last) l
             left join page p on p.bytes_before < $18
             order by p.run_id desc"
        );
        let query = filter.bind(sqlx::query(AssertSqlSafe(statement)), self, cursor, LOOKED_AT_MAX);
        let rows = self.read(query.bind(i64::from(limit.get()) + 1).bind(PAGE_MAX_BYTES)).await?;
        let first = rows.first().ok_or_else(|| StoreError::unreadable("no stretch of runs"))?;
        let found: Option<i64> = first.try_get("found_count")?;
        let has_run = |row: &&PgRow| {
            row.try_get::<Option<Uuid>, _>("run_id").is_ok_and(|run_id| run_id.is_some())
        };
        let runs = rows
            .iter()
            .filter(has_run)
            .map(|row| run_from(row, RUN_TEXT_IN_LIST_MAX_BYTES))
            .collect::<Result<Vec<_>, _>>()?;
        let mut page = cut_page_at(runs, found, limit, |run| run.run_id.to_string());
        let looked_at_most = first.try_get::<i64, _>("looked_count")? >= LOOKED_AT_MAX;
        if page.next_cursor.is_none() && looked_at_most {
            let last: Uuid = first.try_get("looked_last")?;
            page.next_cursor = Some(RunId::from_uuid(last).to_string());
        }
        Ok(page)
    }

    /// What runs come to together, of the newest [`SUMMED_UP_MAX`].
    pub async fn summarise_runs(&self, filter: &RunFilter) -> Result<RunSummary, StoreError> {
        let looked = filter.looked(
            ", status, created_at, input_tokens, output_tokens, reasoning_tokens, cached_tokens,
             cost_usd, (extract(epoch from ended_at - started_at) * 1000)::double precision
             as duration_ms",
        );
        let statement = format!(
            "with looked as materialized ({looked}),
             matching as (select * from looked where matches)
             select l.*, m.*, d.* from
             (select count(*) as looked_count, min(created_at) as looked_since from looked) l,
             (select count(*) as runs,
                     coalesce(sum(input_tokens), 0)::bigint as input_tokens,
                     coalesce(sum(output_tokens), 0)::bigint as output_tokens,
                     coalesce(sum(reasoning_tokens), 0)::bigint as reasoning_tokens,
                     coalesce(sum(cached_tokens), 0)::bigint as cached_tokens,
                     coalesce(sum(cost_usd), 0) as cost_usd,
                     (select coalesce(array_agg(status order by status), '{{}}')
                      from (select distinct status from matching) s) as statuses,
                     (select coalesce(array_agg(n order by status), '{{}}')
                      from (select status, count(*) as n from matching group by status) s) as counts
              from matching) m,
             (select percentile_disc(0.5) within group (order by duration_ms) as p50,
                     percentile_disc(0.95) within group (order by duration_ms) as p95
              from matching where duration_ms is not null) d"
        );
        let query = filter.bind(sqlx::query(AssertSqlSafe(statement)), self, None, SUMMED_UP_MAX);
        let rows = self.read(query).await?;
        let row = rows.first().ok_or_else(|| StoreError::unreadable("no sums"))?;
        let statuses: Vec<String> = row.try_get("statuses")?;
        let counts: Vec<i64> = row.try_get("counts")?;
        let by_status = statuses.iter().zip(counts).map(|(status, runs)| {
            let status = status.parse().map_err(StoreError::unreadable)?;
            Ok::<_, StoreError>(StatusCount { status, runs: runs.unsigned_abs() })
        });
        let is_whole = row.try_get::<i64, _>("looked_count")? < SUMMED_UP_MAX;
        Ok(RunSummary {
            runs: get_u64(row, "runs")?,
            by_status: by_status.collect::<Result<_, _>>()?,
            usage: get_usage(row)?,
            cost_usd: row.try_get("cost_usd")?,
            duration_p50_ms: get_optional_millis(row, "p50")?,
            duration_p95_ms: get_optional_millis(row, "p95")?,
            since: match is_whole {
                true => None,
                false => Some(get_timestamp(row, "looked_since")?),
            },
        })
    }
}
