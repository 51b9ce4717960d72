//! A run kills every worker that opens it, beside runs of another organisation: it must be given up, or be
//! cancelled, and nothing of the others may fail for it. A run's size is bounded, so none kills by
//! its size; this one dies at a failpoint that is passed before runs of its agent are opened.

use std::time::Duration;

use anyhow::{Result, ensure};
use protocol::id::RunId;
use reqwest::StatusCode;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Acked, PersistentClient},
    cluster::{Nodes, POISON, WORKERS},
    judge::{Case, SOMETIMES, Sight, Violation},
    load::Load,
    world::World,
};

pub(super) const FAILPOINTS: &str = "before_opening:poison=return";
/// Workers that one run may kill: `max_attempts`, where nothing is configured.
const DEATHS_MAX: usize = 5;
/// After so many deaths a run is cancelled: it is suspected then, and works alone.
const DEATHS_BEFORE_CANCEL: usize = 2;
/// Longest life of such a run.
const LIFE_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (runs, of_each) = world.scale.of((40, 1), (500, 10));
    let culprit = PersistentClient::new(format!("{}_{POISON}", client.org), nodes.urls())?;
    let culprit = culprit.with_agent(POISON);
    let load = Load { runs, in_flight: 12, steps: 3, words: 4, pace_ms: 20 };
    let mut scene = Scene { world, nodes, others: &client.org, culprit: &culprit };
    let (acked, culprits) = load.post_while(&client, &world.pool, scene.play(of_each)).await?;
    nodes.all_work(&world.pool).await?;

    let deaths: usize = culprits.iter().map(|culprit| culprit.deaths).sum();
    let ends = |fate| culprits.iter().filter(move |one| one.fate == fate).map(|one| one.run.run_id);
    Ok(Case {
        acked,
        may_cancel: ends(Fate::Cancelled).collect(),
        may_fail: ends(Fate::GivenUp).collect(),
        violations: culprits.iter().flat_map(Culprit::faults).collect(),
        faults: format!(
            "{} runs kill every worker that opens them, half of them are cancelled: {deaths} deaths",
            culprits.len()
        ),
        beside: vec![(culprit, culprits.into_iter().map(|culprit| culprit.run).collect())],
        must_see: vec![Sight::Takeover],
        ..Case::new(client)
    })
}

/// How a run that kills must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    GivenUp,
    Cancelled,
}

/// A run that killed, after its end.
struct Culprit {
    run: Acked,
    fate: Fate,
    deaths: usize,
    /// Its status, and the code of its error.
    end: (String, Option<String>),
    /// Steps that others completed during its life.
    steps_beside: i64,
}

struct Scene<'a> {
    world: &'a World,
    nodes: &'a mut Nodes,
    others: &'a str,
    culprit: &'a PersistentClient,
}

impl Scene<'_> {
    /// One after another, so that each death is of a known run.
    async fn play(&mut self, of_each: usize) -> Result<Vec<Culprit>> {
        let mut culprits = Vec::new();
        for n in 0..of_each {
            for fate in [Fate::Cancelled, Fate::GivenUp] {
                culprits.push(self.one(fate, n).await?);
            }
        }
        Ok(culprits)
    }

    async fn one(&mut self, fate: Fate, n: usize) -> Result<Culprit> {
        let pool = &self.world.pool;
        self.until_others_run().await?;
        let load = Load { runs: 1, in_flight: 1, steps: 1, words: 1, pace_ms: 1 };
        let mut task = load.task(self.culprit, n);
        task.token = format!("{}_{fate:?}_{n}", self.culprit.org);
        let run = self.culprit.create(&task).await?;
        let mut deaths = 0;
        let mut may_cancel = fate == Fate::Cancelled;
        let began = Instant::now();
        let end = loop {
            deaths += self.nodes.revive_workers()?;
            if may_cancel && deaths >= DEATHS_BEFORE_CANCEL {
                let status = self.culprit.cancel(run.run_id).await?;
                ensure!(status == StatusCode::OK, "a cancel was answered {status}");
                may_cancel = false;
            }
            if let Some(end) = end_of(pool, run.run_id).await? {
                break end;
            }
            ensure!(began.elapsed() < LIFE_MAX, "{} does not end", run.run_id);
            sleep(LOOK_EVERY).await;
        };
        let steps_beside = steps_during(pool, self.others, run.run_id).await?;
        Ok(Culprit { run, fate, deaths, end, steps_beside })
    }

    async fn until_others_run(&mut self) -> Result<()> {
        let began = Instant::now();
        while running(&self.world.pool, self.others).await? < 2 * WORKERS {
            ensure!(began.elapsed() < LIFE_MAX, "the others do not run");
            self.nodes.revive_workers()?;
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Culprit {
    fn faults(&self) -> Vec<Violation> {
        let Self { run, fate, deaths, end: (status, code), steps_beside } = self;
        let of_run = |check, detail| Violation::of(check, run.run_id, detail);
        let mut faults = Vec::new();
        let is_fated = match fate {
            Fate::GivenUp => status == "failed" && code.as_deref() == Some("max_attempts"),
            Fate::Cancelled => status == "cancelled",
        };
        if !is_fated {
            faults.push(of_run("G12", format!("was to be {fate:?}, and is {status}: {code:?}")));
        }
        if *deaths > DEATHS_MAX {
            faults.push(of_run("G12", format!("killed {deaths} workers, at most {DEATHS_MAX}")));
        }
        if *steps_beside == 0 {
            faults.push(of_run("G12", "no other run went on meanwhile".to_owned()));
        }
        if *deaths < DEATHS_BEFORE_CANCEL {
            faults.push(of_run(SOMETIMES, format!("killed {deaths} workers only")));
        }
        faults
    }
}

async fn end_of(pool: &PgPool, run_id: RunId) -> Result<Option<(String, Option<String>)>> {
    Ok(sqlx::query_as(
        "select status, error->>'code' from runs
         where run_id = $1 and status in ('completed', 'failed', 'cancelled')",
    )
    .bind(run_id.uuid())
    .fetch_optional(pool)
    .await?)
}

async fn running(pool: &PgPool, org: &str) -> Result<usize> {
    let running: i64 =
        sqlx::query_scalar("select count(*) from runs where org_id = $1 and status = 'running'")
            .bind(org)
            .fetch_one(pool)
            .await?;
    Ok(usize::try_from(running)?)
}

async fn steps_during(pool: &PgPool, org: &str, run_id: RunId) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "select count(*) from events e, runs r
         where e.org_id = $1 and e.type = 'step.completed'
           and r.run_id = $2 and e.ts between r.created_at and r.ended_at",
    )
    .bind(org)
    .bind(run_id.uuid())
    .fetch_one(pool)
    .await?)
}
