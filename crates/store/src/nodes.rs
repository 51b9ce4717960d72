//! The nodes of this database, as they see each other, and the maintenance that any of them may do.

use std::time::Duration;

use protocol::{
    tool::{CatalogNotes, TaughtModel, ToolInfo},
    usage::NodeInfo,
};
use sqlx::{Row, types::Json};
use uuid::Uuid;

use crate::{
    error::StoreError,
    handle::Store,
    rows::{get_timestamp, get_u32, get_u64, to_i32},
};

/// A node that was not seen for this long is not counted.
pub const NODE_SILENT_AFTER: Duration = Duration::from_secs(15);
/// Most nodes of a list.
const NODES_LISTED_MAX: i64 = 500;
/// How long an idempotency key is kept.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(48 * 3600);
/// Deltas that one statement removes.
const FORGOTTEN_DELTAS: u32 = 10_000;
/// Of how many runs the rows of one table are removed at once.
const FORGOTTEN_AT_ONCE: i32 = 200;

/// What a node reports about itself.
#[derive(Debug, Clone)]
pub struct NodeReport {
    pub node_id: Uuid,
    pub version: String,
    /// Most runs that it works on at once.
    pub concurrency: u32,
    /// Runs that it works on.
    pub running: u32,
    /// The tools that its runs have.
    pub tools: Vec<ToolInfo>,
    /// Notes about them and about models.
    pub notes: CatalogNotes,
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
    /// Writes the heartbeat of a node.
    pub async fn report_node(&self, node: &NodeReport) -> Result<(), StoreError> {
        let query = sqlx::query(
            "insert into nodes (node_id, version, concurrency, running, tools, notes)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (node_id) do update
             set seen_at = clock_timestamp(), concurrency = excluded.concurrency,
                 running = excluded.running, tools = excluded.tools, notes = excluded.notes",
        )
        .bind(node.node_id)
        .bind(&node.version)
        .bind(i32::try_from(node.concurrency).unwrap_or(i32::MAX))
        .bind(i32::try_from(node.running).unwrap_or(i32::MAX))
        .bind(Json(&node.tools))
        .bind(Json(&node.notes));
        self.database.call(query).await?;
        Ok(())
    }

    /// Removes a node that has stopped.
    pub async fn forget_node(&self, node_id: Uuid) -> Result<(), StoreError> {
        self.database
            .call(sqlx::query("delete from nodes where node_id = $1").bind(node_id))
            .await?;
        Ok(())
    }

    /// The workers that are alive.
    pub async fn workers(&self) -> Result<Workers, StoreError> {
        let query = sqlx::query(
            "select count(*) as nodes, coalesce(sum(concurrency), 0)::bigint as capacity,
                    coalesce(sum(running), 0)::bigint as running
             from nodes
             where seen_at > clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(NODE_SILENT_AFTER.as_secs_f64());
        let row = self.database.call_one(query).await?;
        Ok(Workers {
            nodes: get_u64(&row, "nodes")?,
            capacity: get_u64(&row, "capacity")?,
            running: get_u64(&row, "running")?,
        })
    }

    /// The nodes of the last hour, those that started last first.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, StoreError> {
        let query = sqlx::query(
            "select node_id, version, started_at, seen_at, concurrency, running,
                    seen_at > clock_timestamp() - make_interval(secs => $1) as is_alive,
                    jsonb_array_length(tools) as tool_count
             from nodes
             order by started_at desc
             limit $2",
        )
        .bind(NODE_SILENT_AFTER.as_secs_f64())
        .bind(NODES_LISTED_MAX);
        let rows = self.database.call(query).await?;
        rows.iter()
            .map(|row| {
                Ok(NodeInfo {
                    node_id: row.try_get::<Uuid, _>("node_id")?.to_string(),
                    version: row.try_get("version")?,
                    started_at: get_timestamp(row, "started_at")?,
                    seen_at: get_timestamp(row, "seen_at")?,
                    is_alive: row.try_get("is_alive")?,
                    concurrency: get_u32(row, "concurrency")?,
                    running: get_u32(row, "running")?,
                    tool_count: get_u32(row, "tool_count")?,
                })
            })
            .collect()
    }

    /// The tools that runs have, those of the node that started last, and what is worth knowing
    /// besides: every node learns of models by itself.
    pub async fn tools(&self) -> Result<(Vec<ToolInfo>, CatalogNotes), StoreError> {
        let query = sqlx::query(
            "select tools, notes from nodes
             where seen_at > clock_timestamp() - make_interval(secs => $1)
             order by started_at desc",
        )
        .bind(NODE_SILENT_AFTER.as_secs_f64());
        let mut catalog: Option<(Vec<ToolInfo>, CatalogNotes)> = None;
        for row in self.database.call(query).await? {
            let notes = row.try_get::<Json<CatalogNotes>, _>("notes")?.0;
            match &mut catalog {
                None => {
                    let tools = row.try_get::<Json<Vec<ToolInfo>>, _>("tools")?.0;
                    catalog = Some((tools, notes));
                }
                Some((_, kept)) => notes.taught.into_iter().for_each(|model| merge(kept, model)),
            }
        }
        Ok(catalog.unwrap_or_default())
    }

    /// Deletes a bounded batch of expired rows. Any node may do it, at any time.
    pub async fn tidy_up(&self) -> Result<(), StoreError> {
        let retention = &self.retention;
        while self.forget_deltas().await? == u64::from(FORGOTTEN_DELTAS) {}
        let keys = IDEMPOTENCY_KEPT.as_secs_f64();
        self.database.call(sqlx::query("select forget_idempotency_keys($1)").bind(keys)).await?;
        self.database.call(sqlx::query("select forget_logins()")).await?;
        self.forget_lessons().await?;
        self.forget_breakers().await?;
        self.database.call(sqlx::query("select forget_turns()")).await?;
        let of_a_run = [retention.events_days, retention.runs_days].into_iter().flatten().min();
        let to_resume = [retention.checkpoints_days, of_a_run].into_iter().flatten().min();
        for (table, days) in [
            ("checkpoints", to_resume),
            ("run_messages", to_resume),
            ("tool_calls", to_resume),
            ("events", of_a_run),
            ("runs", retention.runs_days),
        ] {
            let Some(days) = days else { continue };
            let query = sqlx::query(
                "select forget_runs($1, clock_timestamp() - make_interval(days => $2), $3)",
            )
            .bind(table)
            .bind(to_i32(days))
            .bind(FORGOTTEN_AT_ONCE);
            self.database.call(query).await?;
        }
        for old in [
            "delete from nodes where seen_at < clock_timestamp() - interval '1 hour'",
            "delete from lost_leases where lost_at < clock_timestamp() - interval '1 minute'",
        ] {
            self.database.call(sqlx::query(old)).await?;
        }
        Ok(())
    }
}

impl Store {
    async fn forget_deltas(&self) -> Result<u64, StoreError> {
        let query = sqlx::query("select forget_deltas($1, $2) as gone")
            .bind(Duration::from_secs(self.retention.deltas_s).as_secs_f64())
            .bind(to_i32(FORGOTTEN_DELTAS));
        get_u64(&self.database.call_one(query).await?, "gone")
    }
}

fn merge(notes: &mut CatalogNotes, model: TaughtModel) {
    match notes.taught.iter_mut().find(|known| known.model == model.model) {
        None => notes.taught.push(model),
        Some(known) => {
            let new = model.lessons.into_iter().filter(|lesson| !known.lessons.contains(lesson));
            let new: Vec<_> = new.collect();
            known.lessons.extend(new);
        }
    }
}
