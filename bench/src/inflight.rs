//! Many runs at once: a model that takes its time, as real ones do, and asks what a node holds rather
//! than what it ends. All runs wait at the model's gate until the last has come; then each is told a
//! piece of text every quarter of a second.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use reqwest::Client;
use retrieval::figures::quantile;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    model::{self, Calls, age},
    pgbench,
    server::{Machine, ServerProcess, cpu_of_family, executable},
};

/// Pieces of text a second, of each run.
const PIECES_PER_S: u64 = 4;
/// Organisations and users of each, in turns.
const ORGS: usize = 10;
const USERS: usize = 10;
/// Runs that somebody follows.
const FOLLOWED: usize = 100;
/// Runs that are posted at once.
const AT_ONCE: usize = 32;
/// Runs of another organisation meanwhile, one after another.
const BESIDE: usize = 5;
/// Longest wait for all to be at work, and for the end.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to hold.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs at once
    #[arg(long, default_value_t = 2_000)]
    runs: usize,
    /// Seconds for which each is answered
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { runs: 2_000, seconds: 10 }
    }
}

/// Prints the table.
pub(crate) async fn measure(options: Options) -> Result<()> {
    Machine::lend(executable(), async |machine| measure_on(machine, &options).await).await
}

async fn measure_on(machine: &Machine, options: &Options) -> Result<()> {
    let calls = Calls::default();
    let config = machine.folder().join("inflight.toml");
    let base_url = model::start(calls.clone()).await?;
    fs::write(
        &config,
        format!(
            "[model.providers.fake]\nkind = 'openai'\nbase_url = '{base_url}'\n\
             [memory]\nafter_run = 'off'\n[worker]\nconcurrency = {}\n\
             [limits]\nrunning_per_org = {}\n",
            // An eighth is kept from them.
            options.runs * 5 / 4,
            options.runs,
        ),
    )?;
    let settings = [
        ("OPENINTERN_CONFIG", config.display().to_string()),
        ("OPENINTERN_MODEL", "fake/slow".to_owned()),
    ];
    let server = ServerProcess::start(machine, &settings).await?;
    let idle_mib = server.rss_mib()?;
    let asker = Asker { client: Client::builder().no_proxy().build()?, url: server.url.clone() };
    let began = Instant::now();
    let runs = asker.post_all(options).await?;
    let all = u64::try_from(runs.len())?;
    timeout(PATIENCE, calls.until_paced(all)).await.context("all are at work")?;
    println!("{all} runs at once, all at work after     {:>8.1} s", began.elapsed().as_secs_f64());

    let done = AtomicBool::new(false);
    let told = Told { machine, server: &server, calls: &calls };
    let (followed, _) = runs.split_at(FOLLOWED.min(runs.len()));
    let follow = try_join_all(followed.iter().map(|run| asker.follow(run)));
    let work = async {
        calls.open_gate();
        let opened = Instant::now();
        let window = told.window(options).await?;
        asker.until_idle().await?;
        done.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>((window, opened.elapsed()))
    };
    let (ages, (window, took), beside, most_mib) =
        tokio::try_join!(follow, work, asker.beside(&calls), async {
            Ok(most_memory(&server, &done).await)
        },)?;
    let ages: Vec<_> = ages.into_iter().flatten().collect();
    print(&window, &ages, &beside);
    println!("all have ended after                            {:>8.1} s", took.as_secs_f64());
    println!(
        "of these completed                              {:>8}",
        asker.completed(&runs).await?
    );
    let a_run = (most_mib - idle_mib) * 1024.0 / runs.len() as f64;
    println!("server process at most                          {most_mib:>8.0} MiB");
    println!("  for a run, without its {idle_mib:.0} MiB before         {a_run:>8.0} KiB");
    server.stop().await?;
    pgbench_deltas(machine).await
}

fn print(window: &Window, ages: &[Duration], beside: &[Duration]) {
    let of = |times: &[Duration], part| quantile(times, part).as_secs_f64() * 1e3;
    println!("pieces of text a second                         {:>8.0}", window.pieces_per_s);
    println!(
        "  processor time of each                        PostgreSQL {:.0} µs, server {:.0} µs",
        window.postgres_us, window.server_us
    );
    println!(
        "from the model's word to a follower             p50 {:.0} ms, p99 {:.0} ms ({} words)",
        of(ages, 50),
        of(ages, 99),
        ages.len()
    );
    println!(
        "another organisation's runs start after         {:>8.0} ms at most",
        beside.iter().max().map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
    );
}

/// What is looked at from outside.
struct Told<'a> {
    machine: &'a Machine,
    server: &'a ServerProcess,
    calls: &'a Calls,
}

/// What was used while nothing but pieces of text came.
struct Window {
    pieces_per_s: f64,
    postgres_us: f64,
    server_us: f64,
}

impl Told<'_> {
    /// From a second after the first piece to a second before the last.
    async fn window(&self, options: &Options) -> Result<Window> {
        let look = || {
            Ok::<_, anyhow::Error>((
                self.calls.pieces(),
                cpu_of_family(self.machine.database.pid())?,
                self.server.cpu()?,
            ))
        };
        sleep(Duration::from_secs(1)).await;
        let (began, before) = (Instant::now(), look()?);
        sleep(Duration::from_secs(options.seconds.saturating_sub(2).max(1))).await;
        let (took, after) = (began.elapsed(), look()?);
        let pieces = (after.0 - before.0).max(1) as f64;
        let each_us = |after: Duration, before| (after - before).as_secs_f64() * 1e6 / pieces;
        Ok(Window {
            pieces_per_s: pieces / took.as_secs_f64(),
            postgres_us: each_us(after.1, before.1),
            server_us: each_us(after.2, before.2),
        })
    }
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

struct RunOf {
    scope: String,
    id: String,
}

struct Asker {
    client: Client,
    url: String,
}

impl Asker {
    /// Posts a run of a session of its own: it waits for no other.
    async fn post(&self, scope: String, session: &str, input: &str) -> Result<RunOf> {
        let body = json!({"input": input, "session_key": session});
        let url = format!("{}/api/runs?{scope}", self.url);
        let answer = self.client.post(url).json(&body).send().await?;
        ensure!(answer.status() == 201, "{}: {}", answer.status(), answer.text().await?);
        let created: Value = answer.json().await?;
        let id = created.get("run_id").and_then(Value::as_str).context("a run id")?.to_owned();
        Ok(RunOf { scope, id })
    }

    async fn post_all(&self, options: &Options) -> Result<Vec<RunOf>> {
        let input = format!("pace {}", PIECES_PER_S * options.seconds);
        stream::iter(0..options.runs)
            .map(async |n| {
                let (org, user) = (n % ORGS, n / ORGS % USERS);
                let scope = format!("org_id=org_{org}&user_id=user_{user}");
                self.post(scope, &format!("s_{n}"), &input).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Follows a run to its end; says how old each word was when it came.
    async fn follow(&self, run: &RunOf) -> Result<Vec<Duration>> {
        let mut ages = Vec::new();
        self.read(run, |frame| {
            let is_text = frame.contains("event: llm.delta");
            ages.extend(is_text.then(|| age(frame)).flatten());
            frame.contains("event: run.completed")
        })
        .await?;
        Ok(ages)
    }

    /// Reads frames of a run's stream until it is enough.
    async fn read(&self, run: &RunOf, mut is_enough: impl FnMut(&str) -> bool) -> Result<()> {
        let url = format!("{}/api/runs/{}/stream?{}", self.url, run.id, run.scope);
        let mut answer = self.client.get(url).send().await?.error_for_status()?;
        let mut text = String::new();
        while let Some(bytes) = answer.chunk().await? {
            text.push_str(&String::from_utf8_lossy(&bytes));
            while let Some((frame, rest)) = text.split_once("\n\n") {
                if is_enough(frame) {
                    return Ok(());
                }
                text = rest.to_owned();
            }
        }
        bail!("the stream of {} ended", run.id)
    }

    /// Runs of another organisation while the others are answered: from the POST to the beginning.
    async fn beside(&self, calls: &Calls) -> Result<Vec<Duration>> {
        let mut waits = Vec::new();
        for n in 0..BESIDE {
            let seen = calls.pieces();
            while calls.pieces() == seen {
                sleep(LOOK_EVERY).await;
            }
            let began = Instant::now();
            let scope = "org_id=org_other&user_id=user".to_owned();
            let run = self.post(scope, &format!("s_{n}"), "say 10").await?;
            self.read(&run, |frame| frame.contains("event: run.started")).await?;
            waits.push(began.elapsed());
        }
        Ok(waits)
    }

    async fn until_idle(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let answer = self.client.get(format!("{}/health", self.url)).send().await?;
            let health: Value = answer.json().await?;
            let waiting = |name: &str| {
                let number = health.pointer(&format!("/queue/{name}")).and_then(Value::as_u64);
                number.unwrap_or(u64::MAX)
            };
            if waiting("ready") == 0 && waiting("leased") == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "runs are stuck: {health}");
            sleep(LOOK_EVERY).await;
        }
    }

    async fn completed(&self, runs: &[RunOf]) -> Result<usize> {
        let statuses = stream::iter(runs).map(async |run| {
            let url = format!("{}/api/runs/{}?{}", self.url, run.id, run.scope);
            let run: Value = self.client.get(url).send().await?.json().await?;
            Ok::<_, anyhow::Error>(run.get("status").is_some_and(|status| status == "completed"))
        });
        let statuses: Vec<bool> = statuses.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(statuses.into_iter().filter(|is_completed| *is_completed).count())
    }
}

/// How many deltas there can be in transactions of their own.
async fn pgbench_deltas(machine: &Machine) -> Result<()> {
    let url = machine.database.admin_url();
    pgbench::once(url, "delta_runs.sql").await?;
    let per_s = pgbench::per_second(url, "delta.sql").await?;
    println!("pgbench, a transaction for each piece           {per_s:>8.0}/s");
    Ok(())
}
