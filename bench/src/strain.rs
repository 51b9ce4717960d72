//! What a server holds in memory, and how long others wait, while one organisation asks for as much
//! as it may: a thousand followers of a run with a large answer, and a run that asks for gigabytes. Then
//! the same while ten thousand organisations wait, each with runs of its own.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use reqwest::Client;
use retrieval::figures::quantile;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::{
    model::{self, Calls},
    server::{Machine, ServerProcess, executable},
};

/// Followers of one run: as many as an organisation may have.
const FOLLOWERS: usize = 1_000;
/// Bytes of its answer, nearly the most that there may be.
const ANSWER_BYTES: usize = 4_000_000;
/// Calls of each step of the run that reads, and bytes of the file.
const CALLS: usize = 60;
const FILE_BYTES: usize = 1_000_000;
/// Organisations that wait, and runs of each.
const ORGS_WAITING: i32 = 10_000;
const RUNS_OF_EACH: i32 = 20;
/// How long claims are counted while they wait, in parts of so much.
const PARTS: usize = 6;
const PART: Duration = Duration::from_secs(5);
/// Requests of another organisation while nothing else is asked for.
const ALONE: usize = 100;
const BETWEEN: Duration = Duration::from_millis(20);
/// How long after the last request memory is looked at again.
const REST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest life of a run.
const PATIENCE: Duration = Duration::from_secs(300);

/// Prints the table.
pub(crate) async fn measure() -> Result<()> {
    Machine::lend(executable(), measure_on).await
}

async fn measure_on(machine: &Machine) -> Result<()> {
    let calls = Calls::default();
    let config = machine.folder().join("strain.toml");
    let base_url = model::start(calls.clone()).await?;
    fs::write(
        &config,
        format!(
            "\
             [model.providers.fake]\nkind = 'openai'\nbase_url = '{base_url}'\n\
             [memory]\nafter_run = 'off'\n"
        ),
    )?;
    let workspace = machine.data_dir().join("workspaces/org-org_reads/user-user/no-project");
    fs::create_dir_all(&workspace)?;
    let line = format!("{}\n", "x".repeat(199));
    fs::write(workspace.join("large.txt"), line.repeat(FILE_BYTES / line.len()))?;

    let settings = [
        ("OPENINTERN_CONFIG", config.display().to_string()),
        ("OPENINTERN_MODEL", "fake/large".to_owned()),
    ];
    let server = ServerProcess::start(machine, &settings).await?;
    let client = Client::builder().no_proxy().build()?;
    let asker = Asker { client, url: server.url.clone() };
    println!("server process before                            {:>8.0} MiB", server.rss_mib()?);

    let followed = asker.run("org_followed", &format!("say {ANSWER_BYTES}")).await?;
    let alone = asker.ask_for(|asked| asked >= ALONE).await?;
    println!("another organisation alone                       {alone}");
    let done = AtomicBool::new(false);
    let began = Instant::now();
    let follow = async {
        let read = asker.follow(&followed.id).await;
        done.store(true, Ordering::Relaxed);
        read
    };
    let beside = asker.ask_for(|_| done.load(Ordering::Relaxed));
    let (bytes, beside, most) = tokio::join!(follow, beside, most_memory(&server, &done));
    println!(
        "{FOLLOWERS} followers of an answer of {ANSWER_BYTES} bytes read {:.1} GB in {:.0} s",
        bytes? as f64 / 1e9,
        began.elapsed().as_secs_f64()
    );
    println!("  another organisation meanwhile                 {}", beside?);
    print_memory(&server, most).await?;

    let done = AtomicBool::new(false);
    let run = async {
        let ended = asker.run("org_reads", &format!("read {CALLS}")).await;
        done.store(true, Ordering::Relaxed);
        ended
    };
    let (ended, most) = tokio::join!(run, most_memory(&server, &done));
    let asked = calls.reads() * FILE_BYTES as u64;
    println!("a run that asked for {:.1} GB of results ends as {}", asked as f64 / 1e9, ended?.end);
    print_memory(&server, most).await?;

    enqueue(machine).await?;
    println!("{ORGS_WAITING} organisations wait, each with {RUNS_OF_EACH} runs");
    let done = AtomicBool::new(false);
    let count = async {
        let claims = asker.claims().await;
        done.store(true, Ordering::Relaxed);
        claims
    };
    let beside = asker.ask_for(|_| done.load(Ordering::Relaxed));
    let (claims, beside, most) = tokio::join!(count, beside, most_memory(&server, &done));
    let claims: Vec<_> = claims?.iter().map(|each| format!("{each:.0}")).collect();
    let seconds = PART.as_secs();
    println!("  claims a second, {seconds} s by {seconds} s               {}", claims.join(", "));
    println!("  another organisation meanwhile                 {}", beside?);
    print_memory(&server, most).await?;
    server.stop().await
}

/// Puts the runs of many organisations into the queue, through the database: by the API it takes minutes,
/// in which workers take them out again.
async fn enqueue(machine: &Machine) -> Result<()> {
    let mut admin = PgConnection::connect(machine.database.admin_url()).await?;
    sqlx::query(
        "with created as (
             insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input)
             select 'org_' || org, run, 'user', '', run::text, 'main', 'say 10'
             from (select org, gen_random_uuid() as run
                   from generate_series(1, $1) as org, generate_series(1, $2)) new
             returning org_id, run_id, user_id, project_id, session_key)
         insert into queue (org_id, run_id, user_id, project_id, session_key)
         select org_id, run_id, user_id, project_id, session_key from created",
    )
    .bind(ORGS_WAITING)
    .bind(RUNS_OF_EACH)
    .execute(&mut admin)
    .await?;
    Ok(admin.close().await?)
}

/// The most memory that a server had, in MiB.
async fn most_memory(server: &ServerProcess, done: &AtomicBool) -> f64 {
    let mut most = 0.0_f64;
    while !done.load(Ordering::Relaxed) {
        most = most.max(server.rss_mib().unwrap_or_default());
        sleep(LOOK_EVERY).await;
    }
    most
}

async fn print_memory(server: &ServerProcess, most: f64) -> Result<()> {
    sleep(REST).await;
    let (seconds, after) = (REST.as_secs(), server.rss_mib()?);
    println!("  server process at most {most:.0} MiB, {seconds} s later {after:.0} MiB");
    Ok(())
}

/// A run that has ended.
struct EndedRun {
    id: String,
    /// Its status, and the code of its error.
    end: String,
}

/// How long requests took, and how many were refused.
struct Waits {
    get: Vec<Duration>,
    post: Vec<Duration>,
    refused: usize,
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |times: &[Duration]| {
            let [p50, p99] = [50, 99].map(|part| quantile(times, part).as_secs_f64() * 1e3);
            format!("{p50:.0} / {p99:.0} ms (p50 / p99)")
        };
        let asked = self.get.len() + self.post.len();
        write!(f, "GET {}, POST {}, ", of(&self.get), of(&self.post))?;
        write!(f, "{} of {asked} refused", self.refused)
    }
}

struct Asker {
    client: Client,
    url: String,
}

impl Asker {
    fn path(&self, org: &str, path: &str) -> String {
        format!("{}/api/runs{path}?org_id={org}&user_id=user", self.url)
    }

    /// Posts a task, and waits for its end.
    async fn run(&self, org: &str, input: &str) -> Result<EndedRun> {
        let body = json!({"input": input});
        let answer = self.client.post(self.path(org, "")).json(&body).send().await?;
        let created: Value = answer.error_for_status()?.json().await?;
        let text = |value: &Value, at: &str| {
            value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let id = text(&created, "/run_id");
        let began = Instant::now();
        loop {
            let answer = self.client.get(self.path(org, &format!("/{id}"))).send().await?;
            let run: Value = answer.error_for_status()?.json().await?;
            let status = text(&run, "/status");
            if ["completed", "failed", "cancelled"].contains(&status.as_str()) {
                let end = format!("{status} {}", text(&run, "/error/code"));
                return Ok(EndedRun { id, end });
            }
            ensure!(began.elapsed() < PATIENCE, "{id} does not end");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Asks as another organisation, one request after another, until it is enough.
    async fn ask_for(&self, enough: impl Fn(usize) -> bool) -> Result<Waits> {
        let mut waits = Waits { get: Vec::new(), post: Vec::new(), refused: 0 };
        while !enough(waits.get.len()) {
            let url = self.path("org_other", "");
            let get = self.client.get(&url);
            let post = self.client.post(&url).json(&json!({"input": "say 10"}));
            for (request, times) in [(get, &mut waits.get), (post, &mut waits.post)] {
                let began = Instant::now();
                let answer = request.send().await?;
                let is_refused = !answer.status().is_success();
                answer.bytes().await?;
                times.push(began.elapsed());
                waits.refused += usize::from(is_refused);
            }
            sleep(BETWEEN).await;
        }
        Ok(waits)
    }

    /// Claims of the server a second, part by part.
    async fn claims(&self) -> Result<Vec<f64>> {
        let claimed = async || -> Result<f64> {
            let text =
                self.client.get(format!("{}/metrics", self.url)).send().await?.text().await?;
            let line =
                text.lines().find_map(|line| line.strip_prefix("openintern_runs_claimed_total "));
            Ok(line.context("claims are counted")?.parse()?)
        };
        let mut claims = Vec::new();
        let mut before = claimed().await?;
        for _ in 0..PARTS {
            let began = Instant::now();
            sleep(PART).await;
            let now = claimed().await?;
            claims.push((now - before) / began.elapsed().as_secs_f64());
            before = now;
        }
        Ok(claims)
    }

    /// Follows a run as often as may be, each to its end; says how many bytes came.
    async fn follow(&self, run_id: &str) -> Result<usize> {
        let url = self.path("org_followed", &format!("/{run_id}/stream"));
        let one = async || -> Result<usize> {
            let mut answer = self.client.get(&url).send().await?.error_for_status()?;
            let mut bytes = 0;
            while let Some(chunk) = answer.chunk().await.context("a stream is read to its end")? {
                bytes += chunk.len();
            }
            Ok(bytes)
        };
        join_all((0..FOLLOWERS).map(|_| one())).await.into_iter().sum()
    }
}
