//! The processes that work on this database, as all of them see each other, and the upkeep that
//! any of them may do.

use std::time::Duration;

use protocol::tool::ToolInfo;
use sqlx::{Row, types::Json};
use uuid::Uuid;

use crate::{Store, error::StoreError, rows::total};

/// A node that was not seen for this long is not counted.
pub const NODE_SILENT_AFTER: Duration = Duration::from_secs(15);
/// How long deltas are kept after their `llm.called`.
pub const DELTAS_KEPT: Duration = Duration::from_secs(60);
/// How long an idempotency key is kept.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(48 * 3600);

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The node.
    pub node_id: Uuid,
    /// Its version.
    pub version: String,
    /// Most runs that it works on at once.
    pub concurrency: u32,
    /// Runs that it works on.
    pub running: u32,
    /// The tools that its runs have.
    pub tools: Vec<ToolInfo>,
}

/// The workers that are alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workers {
    /// How many nodes work.
    pub nodes: u64,
    /// Most runs that they work on at once.
    pub capacity: u64,
    /// Runs that they work on.
    pub running: u64,
}

impl Store {
    /// Says that a node is alive.
    pub async fn report_node(&self, node: &NodeReport) -> Result<(), StoreError> {
        sqlx::query(
            "insert into nodes (node_id, version, concurrency, running, tools)
             values ($1, $2, $3, $4, $5)
             on conflict (node_id) do update
             set seen_at = clock_timestamp(), concurrency = excluded.concurrency,
                 running = excluded.running, tools = excluded.tools",
        )
        .bind(node.node_id)
        .bind(&node.version)
        .bind(i32::try_from(node.concurrency).unwrap_or(i32::MAX))
        .bind(i32::try_from(node.running).unwrap_or(i32::MAX))
        .bind(Json(&node.tools))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Says that a node has stopped.
    pub async fn forget_node(&self, node_id: Uuid) -> Result<(), StoreError> {
        sqlx::query("delete from nodes where node_id = $1")
            .bind(node_id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The workers that are alive.
    pub async fn workers(&self) -> Result<Workers, StoreError> {
        let row = sqlx::query(
            "select count(*) as nodes, coalesce(sum(concurrency), 0)::bigint as capacity,
                    coalesce(sum(running), 0)::bigint as running
             from nodes
             where seen_at > clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(NODE_SILENT_AFTER.as_secs_f64())
        .fetch_one(&self.pool)
        .await?;
        Ok(Workers {
            nodes: total(&row, "nodes")?,
            capacity: total(&row, "capacity")?,
            running: total(&row, "running")?,
        })
    }

    /// The tools that runs have: those of the node that started last.
    pub async fn tools(&self) -> Result<Vec<ToolInfo>, StoreError> {
        let row = sqlx::query(
            "select tools from nodes
             where seen_at > clock_timestamp() - make_interval(secs => $1)
             order by started_at desc
             limit 1",
        )
        .bind(NODE_SILENT_AFTER.as_secs_f64())
        .fetch_optional(&self.pool)
        .await?;
        row.map_or(Ok(Vec::new()), |row| Ok(row.try_get::<Json<Vec<ToolInfo>>, _>("tools")?.0))
    }

    /// Removes what nobody can ask for any more. Any node may do it, at any time.
    pub async fn tidy_up(&self) -> Result<(), StoreError> {
        // A delta is void once the event after it is old: until then its step may be live.
        sqlx::query(
            "delete from run_deltas d
             using events e
             where d.created_at < clock_timestamp() - make_interval(secs => $1)
               and e.org_id = d.org_id and e.run_id = d.run_id and e.seq = d.seq + 1
               and e.ts < clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(DELTAS_KEPT.as_secs_f64())
        .execute(&self.pool)
        .await?;
        sqlx::query(
            "delete from idempotency_keys
             where created_at < clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(IDEMPOTENCY_KEPT.as_secs_f64())
        .execute(&self.pool)
        .await?;
        sqlx::query("delete from nodes where seen_at < clock_timestamp() - interval '1 hour'")
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
