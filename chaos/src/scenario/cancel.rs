//! Runs are cancelled at random moments of their lives; after the acknowledgement nothing begins.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use protocol::id::RunId;
use reqwest::StatusCode;
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    client::{Acked, PersistentClient},
    clock::now_us,
    judge::{Case, PATIENCE, Violation},
    load::{Load, wait_for_ends},
    world::World,
};

/// Runs that are posted and cancelled at once.
const AT_ONCE: usize = 12;
/// A run lives about so long, so a cancel finds it in any state.
const LIFE_MS: u64 = 700;

/// Longest until a cancelled run has written its end, in 99 of 100.
const QUIET_P99_MS: f64 = 1_000.0;

struct Cancelled {
    acked: Acked,
    status: StatusCode,
    /// When the answer was there, in microseconds since 1970.
    answered_at_us: i64,
}

pub(super) async fn run(world: &World, client: PersistentClient) -> Result<Case> {
    let runs = world.scale.of(40, 2_000);
    let load = Load { runs, in_flight: 0, steps: 5, words: 4, pace_ms: 8 };
    let mut dice = world.dice(4);
    let plan: Vec<_> = (0..runs).map(|n| (n, Duration::from_millis(dice.u64(..LIFE_MS)))).collect();
    let cancels: Vec<Cancelled> = stream::iter(plan)
        .map(|(n, life)| post_and_cancel(&client, load, n, life))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    wait_for_ends(&world.pool, &client.org, PATIENCE).await;
    let mut violations = Vec::new();
    for cancel in &cancels {
        violations.extend(check(&world.pool, &client.org, cancel).await?);
    }
    violations.extend(late_effects(world, &client, &cancels).await?);
    let [median_ms, p99_ms] = until_quiet(&world.pool, &client.org, &cancels).await?;
    if p99_ms > QUIET_P99_MS {
        let detail = format!("it took {p99_ms:.0} ms (p99) until cancelled runs had ended");
        violations.push(Violation::new("G8", detail));
    }
    let in_time = cancels.iter().filter(|cancel| cancel.status == StatusCode::OK).count();
    Ok(Case {
        may_cancel: cancels.iter().map(|cancel| cancel.acked.run_id).collect(),
        acked: cancels.into_iter().map(|cancel| cancel.acked).collect(),
        violations,
        faults: format!(
            "{runs} × cancel at a random moment, {in_time} in time; ended {median_ms:.0} (p50), \
             {p99_ms:.0} ms (p99) after the answer"
        ),
        ..Case::new(client)
    })
}

async fn post_and_cancel(
    client: &PersistentClient,
    load: Load,
    n: usize,
    life: Duration,
) -> Result<Cancelled> {
    let acked = client.create(&load.task(client, n)).await?;
    sleep(life).await;
    let status = client.cancel(acked.run_id).await?;
    Ok(Cancelled { acked, status, answered_at_us: now_us() })
}

/// What was written after the answer, and whether the end fits the answer.
async fn check(pool: &PgPool, org: &str, cancel: &Cancelled) -> Result<Vec<Violation>> {
    let run_id = cancel.acked.run_id;
    let (status,): (String,) =
        sqlx::query_as("select status from runs where org_id = $1 and run_id = $2")
            .bind(org)
            .bind(run_id.uuid())
            .fetch_one(pool)
            .await?;
    let fits = match cancel.status {
        StatusCode::OK => status == "cancelled",
        StatusCode::CONFLICT => status == "completed",
        _ => false,
    };
    let mut violations = Vec::new();
    if !fits {
        let detail = format!("cancel was answered {}, and the run is {status}", cancel.status);
        violations.push(Violation::of("G8", run_id, detail));
    }
    let late: Vec<(i64, String)> = sqlx::query_as(
        "select seq, type from events
         where org_id = $1 and run_id = $2 and type <> 'run.cancelled'
           and ts > to_timestamp($3)",
    )
    .bind(org)
    .bind(run_id.uuid())
    .bind(cancel.answered_at_us as f64 / 1e6)
    .fetch_all(pool)
    .await?;
    for (seq, kind) in late {
        let detail = format!("event {seq}, {kind}, is later than the answer to cancel");
        violations.push(Violation::of("G8", run_id, detail));
    }
    Ok(violations)
}

/// The median and the 99th of 100 of the times from the answer to a cancel to the end of the run, in
/// milliseconds; 0 for one that ended before.
async fn until_quiet(pool: &PgPool, org: &str, cancels: &[Cancelled]) -> Result<[f64; 2]> {
    let ended: Vec<(Uuid, i64)> = sqlx::query_as(
        "select run_id, (extract(epoch from ts) * 1e6)::bigint
         from events where org_id = $1 and type = 'run.cancelled'",
    )
    .bind(org)
    .fetch_all(pool)
    .await?;
    let ended: HashMap<RunId, i64> =
        ended.into_iter().map(|(run_id, at_us)| (RunId::from_uuid(run_id), at_us)).collect();
    let mut times: Vec<i64> = cancels
        .iter()
        .filter_map(|cancel| Some(ended.get(&cancel.acked.run_id)? - cancel.answered_at_us))
        .map(|time| time.max(0))
        .collect();
    times.sort_unstable();
    let at = |hundredth: usize| times.get(times.len().saturating_sub(1) * hundredth / 100);
    Ok([50, 99].map(|hundredth| at(hundredth).copied().unwrap_or(0) as f64 / 1e3))
}

/// Effects after the answer that were not intended before it.
async fn late_effects(
    world: &World,
    client: &PersistentClient,
    cancels: &[Cancelled],
) -> Result<Vec<Violation>> {
    let intended: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "select run_id, payload->>'tool_call_id', (extract(epoch from ts) * 1e6)::bigint
         from events where org_id = $1 and type = 'tool.called'",
    )
    .bind(&client.org)
    .fetch_all(&world.pool)
    .await?;
    let intended: HashMap<(RunId, String), i64> = intended
        .into_iter()
        .map(|(run_id, call, at_us)| ((RunId::from_uuid(run_id), call), at_us))
        .collect();
    let by_token: HashMap<&str, &Cancelled> =
        cancels.iter().map(|cancel| (cancel.acked.task.token.as_str(), cancel)).collect();
    let late = world.executions()?.into_iter().filter_map(|one| {
        let cancel = by_token.get(one.token.as_str())?;
        let run_id = cancel.acked.run_id;
        let intended_at_us = intended.get(&(run_id, one.call_id.clone())).copied();
        let is_late = one.at_us > cancel.answered_at_us
            && intended_at_us.is_none_or(|at_us| at_us > cancel.answered_at_us);
        let detail = format!("call {} began after the answer to cancel", one.call_id);
        is_late.then(|| Violation::of("G8", run_id, detail))
    });
    Ok(late.collect())
}
