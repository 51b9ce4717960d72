//! One organisation has a long backlog, part of it in a single session, and another comes with one
//! run at a time: it must be served as soon as a place is free. Then a worker is killed: its runs
//! must go on before any that waits.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Acked, PersistentClient},
    cluster::{Nodes, PLACES, WORKERS},
    judge::{Case, SOMETIMES, Sight, Violation},
    load::Load,
    scenario::kill,
    world::World,
};

/// Runs that are posted at once.
const AT_ONCE: usize = 32;
/// How often a worker looks for itself, at the longest.
const POLL_MAX_S: f64 = 1.25;
/// Longest wait of a run that somebody watches.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The session with many runs.
const SESSION: &str = "s_long";

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let pool = &world.pool;
    let (queued, in_session, samples) = world.scale.of((500, 50, 6), (10_000, 2_000, 200));
    let patient = PersistentClient::new(format!("{}_patient", client.org), nodes.urls())?;
    let mut patients = one_by_one(world, &patient, "alone", samples).await?;
    let alone = Waits::of(pool, &patients).await?;

    // No worker works until all wait. The session comes first: a claim has to look past it.
    for worker in &mut nodes.workers {
        worker.kill(pool).await?;
    }
    let quick = Load { runs: in_session, in_flight: 0, steps: 1, words: 1, pace_ms: 1 };
    let mut acked = post_all(&client, quick, "session", Some(SESSION)).await?;
    let slow = Load { runs: queued, in_flight: 0, steps: 1, words: 10, pace_ms: 40 };
    let others = post_all(&client, slow, "queued", None).await?;
    for worker in &mut nodes.workers {
        worker.start_again(pool).await?;
    }

    let beside = one_by_one(world, &patient, "beside", samples).await?;
    let waits = Waits::of(pool, &beside).await?;
    let still_waiting = waiting(pool, &client.org).await?;
    let victim = nodes.workers.first_mut().context("a worker")?;
    let loss = victim.kill(pool).await?;
    victim.start_again(pool).await?;
    crate::load::wait_for_ends(pool, &client.org, crate::judge::PATIENCE).await;

    let longest_s = longest_run_s(pool, &client.org).await?;
    let bound_s = longest_s + POLL_MAX_S;
    let mut violations = Vec::new();
    if waits.max_s > bound_s {
        let detail =
            format!("waited {:.2} s beside a backlog, at most {bound_s:.2} s", waits.max_s);
        violations.push(Violation::new("G12", detail));
    }
    let began = began_by(pool, &others, bound_s).await?;
    if began + 1 < WORKERS * PLACES {
        let detail = format!("only {began} runs began beside the session within {bound_s:.2} s");
        violations.push(Violation::new("G12", detail));
    }
    if still_waiting < WORKERS * PLACES {
        violations.push(Violation::new(SOMETIMES, "the backlog did not last"));
    }
    acked.extend(others);
    patients.extend(beside);
    Ok(Case {
        acked,
        beside: vec![(patient, patients)],
        losses: vec![loss],
        violations,
        faults: format!(
            "{queued} runs wait, {in_session} more in one session; another organisation waits \
             {waits}, alone {alone}, at most {bound_s:.2} s; 1 × kill -9 of a worker"
        ),
        must_see: vec![Sight::Takeover],
        recovery_max_s: Some(kill::RECOVERY_MAX_S + longest_s),
        ..Case::new(client)
    })
}

async fn post_all(
    client: &PersistentClient,
    load: Load,
    name: &str,
    session: Option<&str>,
) -> Result<Vec<Acked>> {
    stream::iter(0..load.runs)
        .map(|n| async move {
            let mut task = load.task(client, n);
            task.token = format!("{}_{name}_{n}", client.org);
            match session {
                Some(session) => client.create_in_session(&task, session).await,
                None => client.create(&task).await,
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Posts the next run when the one before has begun, and some time has passed.
async fn one_by_one(
    world: &World,
    client: &PersistentClient,
    name: &str,
    runs: usize,
) -> Result<Vec<Acked>> {
    let load = Load { runs, in_flight: 0, steps: 1, words: 1, pace_ms: 1 };
    let mut dice = world.dice(7);
    let mut acked = Vec::new();
    for n in 0..runs {
        sleep(Duration::from_millis(dice.u64(..100))).await;
        let mut task = load.task(client, n);
        task.token = format!("{}_{name}_{n}", client.org);
        let run = client.create(&task).await?;
        let began = Instant::now();
        while wait_s(&world.pool, &run).await?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "{} does not begin", run.run_id);
            sleep(LOOK_EVERY).await;
        }
        acked.push(run);
    }
    Ok(acked)
}

/// How long runs waited from their creation to their first event.
struct Waits {
    p50_s: f64,
    p99_s: f64,
    max_s: f64,
}

impl Waits {
    async fn of(pool: &PgPool, runs: &[Acked]) -> Result<Self> {
        let mut waits = Vec::new();
        for run in runs {
            waits.extend(wait_s(pool, run).await?);
        }
        waits.sort_by(f64::total_cmp);
        let share = |share: f64| {
            let at = ((waits.len().max(1) - 1) as f64 * share).ceil() as usize;
            waits.get(at).copied().context("a run")
        };
        Ok(Self { p50_s: share(0.5)?, p99_s: share(0.99)?, max_s: share(1.0)? })
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} / {:.0} ms (p50 / p99)", self.p50_s * 1e3, self.p99_s * 1e3)
    }
}

async fn wait_s(pool: &PgPool, run: &Acked) -> Result<Option<f64>> {
    let wait_s = sqlx::query_scalar(
        "select extract(epoch from e.ts - r.created_at)::float8
         from runs r join events e using (org_id, run_id)
         where run_id = $1 and e.seq = 1",
    )
    .bind(run.run_id.uuid())
    .fetch_optional(pool)
    .await?;
    Ok(wait_s)
}

async fn waiting(pool: &PgPool, org: &str) -> Result<usize> {
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from runs where org_id = $1 and status = 'pending'")
            .bind(org)
            .fetch_one(pool)
            .await?;
    Ok(usize::try_from(waiting)?)
}

/// Each run here is one step, so this is the longest step; those of the killed worker count twice,
/// and are left out.
async fn longest_run_s(pool: &PgPool, org: &str) -> Result<f64> {
    Ok(sqlx::query_scalar(
        "select max(extract(epoch from ended_at - started_at))::float8 from runs
         where org_id = $1 and epoch = 1",
    )
    .bind(org)
    .fetch_one(pool)
    .await?)
}

/// How many of these runs began so soon after the first of their organisation.
async fn began_by(pool: &PgPool, runs: &[Acked], within_s: f64) -> Result<usize> {
    let ids: Vec<_> = runs.iter().map(|run| run.run_id.uuid()).collect();
    let began: i64 = sqlx::query_scalar(
        "select count(*) from (select started_at, min(started_at) over () as first_at
                               from runs where run_id = any ($1)) r
         where started_at < first_at + make_interval(secs => $2)",
    )
    .bind(ids)
    .bind(within_s)
    .fetch_one(pool)
    .await?;
    Ok(usize::try_from(began)?)
}
