//! What runs used, and how an organisation's queue stands.

use protocol::{
    id::RunId,
    name::OrgId,
    time::Timestamp,
    usage::{QueueStanding, UsagePer, UsageReport, UsageRow},
};
use sqlx::{Row, postgres::PgRow};

use crate::{
    error::StoreError,
    handle::Store,
    rows::{get_optional_millis, get_timestamp, get_u64, to_i32},
    scoped::Scoped,
    transaction::Tenant,
};

/// Most rows of an answer.
pub const USAGE_ROWS_MAX: u32 = 5_000;

/// Which usage to sum up.
#[derive(Debug, Clone, Copy)]
pub struct UsageQuery {
    /// Runs that were created at this time or later,
    pub since: Timestamp,
    /// and before this one.
    pub until: Timestamp,
    pub per: UsagePer,
    pub by: UsageBy,
}

/// What each row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    Model,
    Agent,
    User,
    Project,
}

impl UsageBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Agent => "agent",
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

impl UsageQuery {
    fn first(&self) -> uuid::Uuid {
        RunId::first_at(self.since).uuid()
    }

    fn end(&self) -> uuid::Uuid {
        RunId::first_at(self.until).uuid()
    }

    const fn per(&self) -> &'static str {
        match self.per {
            UsagePer::Hour => "hour",
            UsagePer::Day => "day",
        }
    }
}

impl Scoped {
    /// What the scope's runs used.
    pub async fn usage(&self, asked: &UsageQuery) -> Result<UsageReport, StoreError> {
        let query = sqlx::query("select * from usage_rows($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(self.org())
            .bind(self.user())
            .bind(self.project())
            .bind(asked.first())
            .bind(asked.end())
            .bind(asked.per())
            .bind(asked.by.as_str())
            .bind(to_i32(USAGE_ROWS_MAX + 1));
        report(&self.read(query).await?)
    }
}

fn report(rows: &[PgRow]) -> Result<UsageReport, StoreError> {
    let row = |row: &PgRow| {
        let name: String = row.try_get("name")?;
        let input_tokens = get_u64(row, "input_tokens")?;
        let cached_tokens = get_u64(row, "cached_tokens")?;
        let share = cached_tokens as f64 / input_tokens as f64;
        Ok(UsageRow {
            at: get_timestamp(row, "at")?,
            name: (!name.is_empty()).then_some(name),
            runs: get_u64(row, "runs")?,
            failed: get_u64(row, "failed")?,
            input_tokens,
            output_tokens: get_u64(row, "output_tokens")?,
            reasoning_tokens: get_u64(row, "reasoning_tokens")?,
            cached_tokens,
            cached_share: (input_tokens > 0).then(|| share.min(1.0)),
            cost_usd: row.try_get("cost_usd")?,
            duration_p50_ms: get_optional_millis(row, "p50_ms")?,
            duration_p95_ms: get_optional_millis(row, "p95_ms")?,
        })
    };
    let most = USAGE_ROWS_MAX as usize;
    Ok(UsageReport {
        rows: rows.iter().take(most).map(row).collect::<Result<_, StoreError>>()?,
        is_cut: rows.len() > most,
    })
}

impl Store {
    /// What the runs of a whole organisation used.
    pub async fn organisation_usage(
        &self,
        org_id: &OrgId,
        asked: &UsageQuery,
    ) -> Result<UsageReport, StoreError> {
        let query = sqlx::query("select * from organisation_usage($1, $2, $3, $4, $5, $6)")
            .bind(org_id.as_str())
            .bind(asked.first())
            .bind(asked.end())
            .bind(asked.per())
            .bind(asked.by.as_str())
            .bind(to_i32(USAGE_ROWS_MAX + 1));
        report(&self.database.call_for(org_id.as_str(), query).await?)
    }

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
