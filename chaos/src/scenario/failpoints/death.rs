//! Leads a process to its point. A worker is led there alone: it has a single place, and the other
//! workers stand still until it is dead, so that the run in its hands is known.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use nix::sys::signal::Signal;
use protocol::id::RunId;
use reqwest::StatusCode;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Acked, PersistentClient},
    cluster::{NodeKind, NodeProcess, Nodes},
    judge::Violation,
    migration::Migration,
    scenario::stream::follower::follow,
    world::World,
};

use super::{
    Round,
    points::{Death, Lead, Point},
};

/// Runs that are posted for a worker; it dies with one of them.
const RUNS: usize = 3;
/// Longest time until a run has begun.
const BEGIN_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Lets a process die at the point for the n-th time, and the others go on.
pub(super) async fn die_at(
    world: &World,
    nodes: &mut Nodes,
    client: &PersistentClient,
    point: &'static Point,
    n: usize,
) -> Result<Round> {
    let mut stage = Stage { world, nodes, client, point, n };
    let (died, acked, violations) = match point.death {
        Death::Worker(Lead::Takeover, _) => stage.taker_over().await?,
        Death::Worker(lead, _) => stage.worker(lead).await?,
        Death::Create { finds_run } => stage.create(finds_run).await?,
        Death::Cancel => stage.cancel().await?,
        Death::Stream => stage.stream().await?,
        Death::Migrate => stage.migrate().await?,
    };
    Ok(Round { point, died, acked, violations })
}

/// Whether it died, the runs that were posted, and what was wrong at once.
type DeathOutcome = (bool, Vec<Acked>, Vec<Violation>);

struct Stage<'a> {
    world: &'a World,
    nodes: &'a mut Nodes,
    client: &'a PersistentClient,
    point: &'static Point,
    n: usize,
}

impl Stage<'_> {
    async fn worker(&mut self, lead: Lead) -> Result<DeathOutcome> {
        let pool = &self.world.pool;
        let mut victim = self.start(NodeKind::Worker).await?;
        self.nodes.signal_workers(Signal::SIGSTOP)?;
        let names: Vec<_> = (0..RUNS).map(|n| format!("run_{n}")).collect();
        let mut acked = try_join_all(names.iter().map(|name| self.post(name))).await?;
        if matches!(lead, Lead::Drain | Lead::Absence) {
            begun(pool, std::slice::from_ref(&victim)).await?;
        }
        match lead {
            Lead::Drain => victim.signal(Signal::SIGTERM)?,
            Lead::Absence => victim.lose_presence(pool).await?,
            Lead::Work | Lead::LongWork | Lead::Takeover => {}
        }
        let died = victim.dies_at_its_point().await?;
        if died {
            let lost = claimed_by_none_of(pool, &self.nodes.workers, &acked).await?;
            acked.swap(0, lost);
        }
        self.nodes.signal_workers(Signal::SIGCONT)?;
        Ok((died, acked, Vec::new()))
    }

    async fn taker_over(&mut self) -> Result<DeathOutcome> {
        let pool = &self.world.pool;
        let acked = vec![self.post("lost").await?];
        let first = begun(pool, &self.nodes.workers).await?;
        self.nodes.signal_workers(Signal::SIGSTOP)?;
        let mut victim = self.start(NodeKind::Worker).await?;
        let first = self.nodes.workers.get_mut(first).context("a worker")?;
        first.kill(pool).await?;
        let died = victim.dies_at_its_point().await?;
        first.start_again(pool).await?;
        self.nodes.signal_workers(Signal::SIGCONT)?;
        Ok((died, acked, Vec::new()))
    }

    async fn create(&mut self, finds_run: bool) -> Result<DeathOutcome> {
        let mut victim = self.start(NodeKind::Api).await?;
        let client = self.client_of(&victim)?;
        let task = self.point.task(self.token("asked"));
        let created = client.create_with_key(&task, &task.token).await?;
        let mut violations = complaints(&client);
        if created.replayed != finds_run {
            let detail = format!("asked again, `replayed` is {}", created.replayed);
            violations.push(Violation::of("I12", created.run_id, detail));
        }
        let acked = vec![Acked { run_id: created.run_id, task }];
        Ok((victim.dies_at_its_point().await?, acked, violations))
    }

    async fn cancel(&mut self) -> Result<DeathOutcome> {
        let mut victim = self.start(NodeKind::Api).await?;
        self.nodes.signal_workers(Signal::SIGSTOP)?;
        let acked = self.post("cancelled").await?;
        let pool = &self.world.pool;
        let client = self.client_of(&victim)?;
        let status = client.cancel(acked.run_id).await?;
        // A worker may have claimed it just before it stood still, and is not told yet.
        let is_claimed = claims(pool, acked.run_id).await? > 0;
        let expected = if is_claimed { StatusCode::OK } else { StatusCode::CONFLICT };
        let died = victim.dies_at_its_point().await?;
        self.nodes.signal_workers(Signal::SIGCONT)?;
        let mut violations = complaints(&client);
        if status != expected {
            let detail = format!("asked again to cancel, the answer is {status}, not {expected}");
            violations.push(Violation::of("G8", acked.run_id, detail));
        }
        Ok((died, vec![acked], violations))
    }

    async fn stream(&mut self) -> Result<DeathOutcome> {
        let mut victim = self.start(NodeKind::Api).await?;
        let acked = self.post("followed").await?;
        let urls: Vec<_> = victim.url().into_iter().chain(self.nodes.urls()).collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        let followed = follow(acked.run_id, &self.client.scope(), &urls).await?;
        let mut faults = followed.faults();
        let last = last_seq(&self.world.pool, acked.run_id).await?;
        if followed.last_seq() != last {
            faults.push(format!("saw {} of {last} events", followed.last_seq()));
        }
        let of_run = |fault| Violation::of("I11", acked.run_id, fault);
        let violations = faults.into_iter().map(of_run).collect();
        Ok((victim.dies_at_its_point().await?, vec![acked], violations))
    }

    /// Of a database of its own: it dies, another one does it anew, and nothing is missing then.
    async fn migrate(&mut self) -> Result<DeathOutcome> {
        let name = format!("{}_{}", self.point.name, self.n);
        let url = self.world.create_database(&name).await?;
        let program = self.world.openintern_with_failpoints()?;
        let migration = Migration { program: &program, folder: self.world.folder(), url: &url };
        let died = migration.dies(&self.point.setting()).await?;
        let mut violations = Vec::new();
        if !migration.run(&[]).await? || !migration.run(&["--check"]).await? {
            violations.push(Violation::new("G16", format!("`{name}` is not migrated")));
        }
        Ok((died, Vec::new(), violations))
    }

    async fn start(&self, kind: NodeKind) -> Result<NodeProcess> {
        self.nodes.start_victim(self.world, kind, &self.point.setting()).await
    }

    async fn post(&self, name: &str) -> Result<Acked> {
        self.client.create(&self.point.task(self.token(name))).await
    }

    /// Unlike that of any other run.
    fn token(&self, name: &str) -> String {
        let Point { name: point, skip, .. } = self.point;
        format!("{}_{point}_{skip}_{}_{name}", self.client.org, self.n)
    }

    /// A client that asks the victim first.
    fn client_of(&self, victim: &NodeProcess) -> Result<PersistentClient> {
        let urls = victim.url().into_iter().chain(self.nodes.urls()).collect();
        PersistentClient::new(self.client.org.clone(), urls)
    }
}

fn complaints(client: &PersistentClient) -> Vec<Violation> {
    client.complaints().into_iter().map(|words| Violation::new("I10", words)).collect()
}

/// Waits until one of the workers has written something about a run that it holds; says which.
async fn begun(pool: &PgPool, workers: &[NodeProcess]) -> Result<usize> {
    let began = Instant::now();
    loop {
        for (at, worker) in workers.iter().enumerate() {
            for (run, _) in worker.held(pool).await?.held {
                if last_seq(pool, RunId::from_uuid(run)).await? > 0 {
                    return Ok(at);
                }
            }
        }
        ensure!(began.elapsed() < BEGIN_MAX, "no run begins");
        sleep(LOOK_EVERY).await;
    }
}

/// Which of the runs the victim had. One may be claimed by a worker that stands still: what it asked
/// the database for just before is done all the same.
async fn claimed_by_none_of(
    pool: &PgPool,
    workers: &[NodeProcess],
    runs: &[Acked],
) -> Result<usize> {
    let mut elsewhere = Vec::new();
    for worker in workers {
        elsewhere.extend(worker.held(pool).await?.held.into_iter().map(|(run, _)| run));
    }
    for (at, run) in runs.iter().enumerate() {
        if !elsewhere.contains(&run.run_id.uuid()) && claims(pool, run.run_id).await? > 0 {
            return Ok(at);
        }
    }
    bail!("the victim had none of its runs")
}

async fn claims(pool: &PgPool, run_id: RunId) -> Result<i64> {
    let claims = sqlx::query_scalar("select epoch from runs where run_id = $1");
    Ok(claims.bind(run_id.uuid()).fetch_one(pool).await?)
}

async fn last_seq(pool: &PgPool, run_id: RunId) -> Result<u64> {
    let last: i64 = sqlx::query_scalar("select last_seq from runs where run_id = $1")
        .bind(run_id.uuid())
        .fetch_one(pool)
        .await?;
    Ok(u64::try_from(last)?)
}
