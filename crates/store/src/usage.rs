//! What runs used, and how an organisation's queue stands.

use protocol::{
    name::OrgId,
    usage::{DayUsage, QueueStanding, UsageReport},
};
use sqlx::Row;

use crate::{error::StoreError, handle::Store, rows::get_u64, scoped::Scoped, transaction::Tenant};

/// How many days back usage is summed up, today included.
pub const USAGE_DAYS: i32 = 30;

impl Scoped {
    /// What the scope's runs of the last [`USAGE_DAYS`] days used, by day and model.
    pub async fn usage(&self) -> Result<UsageReport, StoreError> {
        // The first 48 bits of a run's id are its time in milliseconds (RFC 9562, version 7): the
        // bound on it lets the index of the scope find them.
        let query = sqlx::query(
            "with first as (
                 select (date_trunc('day', clock_timestamp() at time zone 'utc')
                         - make_interval(days => $4 - 1)) at time zone 'utc' as day
             )
             select (r.created_at at time zone 'utc')::date::text as day, r.model,
                    count(*) as runs, sum(r.input_tokens)::bigint as input_tokens,
                    sum(r.output_tokens)::bigint as output_tokens,
                    sum(r.reasoning_tokens)::bigint as reasoning_tokens,
                    sum(r.cached_tokens)::bigint as cached_tokens, sum(r.cost_usd) as cost_usd
             from runs r
             where r.org_id = $1 and r.user_id = $2 and r.project_id = $3 and r.model is not null
               and r.run_id >= (select (lpad(to_hex((extract(epoch from day) * 1000)::bigint), 12, '0')
                                        || repeat('0', 20))::uuid from first)
             group by 1, 2
             order by 1 desc, 2",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(USAGE_DAYS);
        let rows = self.read(query).await?;
        let days = rows.iter().map(|row| {
            let input_tokens = get_u64(row, "input_tokens")?;
            let cached_tokens = get_u64(row, "cached_tokens")?;
            let share = cached_tokens as f64 / input_tokens as f64;
            Ok(DayUsage {
                day: row.try_get("day")?,
                model: row.try_get("model")?,
                runs: get_u64(row, "runs")?,
                input_tokens,
                output_tokens: get_u64(row, "output_tokens")?,
                reasoning_tokens: get_u64(row, "reasoning_tokens")?,
                cached_tokens,
                cached_share: (input_tokens > 0).then(|| share.min(1.0)),
                cost_usd: row.try_get("cost_usd")?,
            })
        });
        Ok(UsageReport { days: days.collect::<Result<_, StoreError>>()? })
    }
}

impl Store {
    /// How the queue of one organisation stands.
    pub async fn queue_standing(&self, org_id: &OrgId) -> Result<QueueStanding, StoreError> {
        let mut tx = self.database.begin(Tenant::Org(org_id)).await?;
        let row = sqlx::query(
            "select count(*) filter (where lease_until is null and not blocked) as ready,
                    count(*) filter (where lease_until is null and blocked) as in_line,
                    count(*) filter (where lease_until is not null) as running,
                    (extract(epoch from clock_timestamp() - min(available_at)
                         filter (where lease_until is null and not blocked)) * 1000)::bigint
                        as oldest_wait_ms
             from queue
             where org_id = $1",
        )
        .bind(org_id.as_str())
        .fetch_one(&mut tx)
        .await?;
        tx.commit().await?;
        let oldest_wait_ms = row.try_get::<Option<i64>, _>("oldest_wait_ms")?;
        Ok(QueueStanding {
            ready: get_u64(&row, "ready")?,
            in_line: get_u64(&row, "in_line")?,
            running: get_u64(&row, "running")?,
            oldest_wait_ms: oldest_wait_ms.map(|wait| u64::try_from(wait).unwrap_or(0)),
        })
    }
}
