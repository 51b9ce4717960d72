//! Runs per second and latency of the built executable, beside what `pgbench` reaches with the same
//! writes on the same PostgreSQL in the same minutes, or beside another executable.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use reqwest::Client;
use retrieval::figures::quantile;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    pgbench,
    server::{Machine, ServerProcess, cpu_of_family, executable},
};

/// The user of the runs.
const ORG: &str = "org_bench";
/// Clients that post at once.
const CLIENTS: usize = 32;
/// Runs of one round.
const RUNS: u64 = 6_000;
/// Rounds of each of two executables.
const COMPARED_ROUNDS: usize = 5;
/// Runs one after another, for latency.
const SEQUENTIAL: usize = 500;
/// Longest wait for a round's last run.
const PATIENCE: Duration = Duration::from_secs(120);

/// Prints the table of runs.
pub(crate) async fn measure() -> Result<()> {
    Machine::lend(executable(), measure_on).await
}

/// Prints runs a second of the executable beside another one, such as that of an earlier commit:
/// each works on a database of its own, and they take turns.
pub(crate) async fn compare(other: PathBuf) -> Result<()> {
    Machine::lend(other, async |other| {
        Machine::lend(executable(), async |ours| compare_on(ours, other).await).await
    })
    .await
}

async fn compare_on(ours: &Machine, other: &Machine) -> Result<()> {
    for machine in [ours, other] {
        ServerProcess::start(machine, &[]).await?.stop().await?; // Migrates.
    }
    let (our_key, other_key) = (admin_key(ours).await?, admin_key(other).await?);
    println!("{CLIENTS} clients, {RUNS} one-step runs a round of each:");
    let mut ratios: BTreeMap<RunMode, Vec<f64>> = BTreeMap::new();
    for round in 0..COMPARED_ROUNDS {
        for mode in RunMode::ALL {
            let our_round = async || one_round(ours, mode, &our_key, round).await;
            let other_round = async || one_round(other, mode, &other_key, round).await;
            // Each has its turn to go first.
            let (rate, beside) = if round % 2 == 0 {
                (our_round().await?, other_round().await?)
            } else {
                let beside = other_round().await?;
                (our_round().await?, beside)
            };
            ratios.entry(mode).or_default().push(rate / beside);
        }
    }
    for (mode, mut ratios) in ratios {
        ratios.sort_by(f64::total_cmp);
        let all: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let median = all.get(all.len() / 2).map_or("", String::as_str);
        println!("  ratios {:40} {}; median {median}", mode.name(), all.join(", "));
    }
    Ok(())
}

async fn measure_on(machine: &Machine) -> Result<()> {
    let cold = ServerProcess::start(machine, &[]).await?; // Migrates.
    cold.stop().await?;
    let key = admin_key(machine).await?;
    let began = Instant::now();
    let server = ServerProcess::start(machine, &RunMode::Plain.settings()).await?;
    println!(
        "start to `listening` (cluster and schema exist)  {:>8.0} ms",
        millis(began.elapsed())
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("server process when idle                         {:>8.1} MiB", server.rss_mib()?);

    let client = Poster::new(&server, RunMode::Plain, &key)?;
    let mut times = Vec::new();
    for n in 0..SEQUENTIAL {
        times.push(client.one_run(n).await?);
    }
    println!("POST to run.completed on SSE, one after another, {SEQUENTIAL} runs:");
    for part in [50, 99] {
        let time = millis(quantile(&times, part));
        println!("  p{part}                                            {time:>8.1} ms");
    }
    server.stop().await?;

    println!("{CLIENTS} clients, {RUNS} one-step runs a round, each in a session of its own:");
    let mut ratios: BTreeMap<Option<RunMode>, Vec<f64>> = BTreeMap::new();
    for round in 0..RunMode::ALL.len() {
        let mut rates = BTreeMap::new();
        // Tables grow from one to the next: each has its turn to go first.
        let turns = RunMode::ALL.into_iter().cycle().skip(round).take(RunMode::ALL.len());
        for mode in turns {
            rates.insert(mode, one_round(machine, mode, &key, round).await?);
        }
        let limit = pgbench::per_second(machine.database.admin_url(), "run.sql").await?;
        let rate = |mode| rates.get(&mode).copied().unwrap_or_default();
        let ours = rate(RunMode::Plain);
        println!("    pgbench, the same writes                {limit:>6.0}/s");
        ratios.entry(None).or_default().push(ours / limit);
        for mode in [RunMode::Key, RunMode::Remembers] {
            ratios.entry(Some(mode)).or_default().push(rate(mode) / ours);
        }
    }
    for (of, ratios) in ratios {
        let name =
            of.map_or("of plain to pgbench".to_owned(), |it| format!("of {} to plain", it.name()));
        let all: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!("  ratios {name:40} {}", all.join(", "));
    }
    Ok(())
}

/// Runs per second with a server of its own: while `pgbench` runs, it would take what that claims.
async fn one_round(machine: &Machine, mode: RunMode, key: &str, round: usize) -> Result<f64> {
    let server = ServerProcess::start(machine, &mode.settings()).await?;
    let poster = Poster::new(&server, mode, key)?;
    let used = || Ok::<_, anyhow::Error>([server.cpu()?, cpu_of_family(machine.database.pid())?]);
    let before = used()?;
    let rate = poster.throughput(&format!("{}_{round}", mode.user())).await?;
    let [server_ms, postgres_ms] = {
        let [ours, postgres] = used()?;
        let [ours_before, postgres_before] = before;
        [ours - ours_before, postgres - postgres_before].map(|time| millis(time) / RUNS as f64)
    };
    println!(
        "  {:38} {rate:>6.0} runs/s; CPU a run: server {server_ms:.2} ms, PostgreSQL \
         {postgres_ms:.2} ms; server process {:.0} MiB",
        mode.name(),
        server.rss_mib()?
    );
    server.stop().await?;
    Ok(rate)
}

/// What a server does besides executing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RunMode {
    /// Nothing more.
    Plain,
    /// It asks for API keys, and keeps the audit.
    Key,
    /// It remembers runs, and finds what it remembers.
    Remembers,
}

impl RunMode {
    const ALL: [Self; 3] = [Self::Plain, Self::Key, Self::Remembers];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Key => "with an API key",
            Self::Remembers => "with what runs leave in memory",
        }
    }

    /// Whose runs they are: what one remembers, no other finds.
    fn user(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Key => "key",
            Self::Remembers => "remembers",
        }
    }

    fn settings(self) -> Vec<(&'static str, String)> {
        let forgets = ("OPENINTERN_MEMORY_AFTER_RUN", "off".to_owned());
        match self {
            Self::Plain => vec![forgets],
            Self::Key => vec![
                forgets,
                ("OPENINTERN__SERVER__AUTH", "keys".to_owned()),
                ("OPENINTERN__LIMITS__REQUESTS_PER_S_PER_KEY", "1000000".to_owned()),
                ("OPENINTERN__LIMITS__REQUESTS_BURST_PER_KEY", "1000000".to_owned()),
            ],
            Self::Remembers => Vec::new(),
        }
    }
}

struct Poster {
    url: String,
    client: Client,
    user: &'static str,
    key: Option<String>,
}

impl Poster {
    fn new(server: &ServerProcess, mode: RunMode, key: &str) -> Result<Self> {
        let client = Client::builder().no_proxy().build()?;
        let key = (mode == RunMode::Key).then(|| key.to_owned());
        Ok(Self { url: server.url.clone(), client, user: mode.user(), key })
    }

    async fn post(&self, session: &str) -> Result<String> {
        let mut request = self
            .client
            .post(format!("{}/api/runs", self.url))
            .header("x-org-id", ORG)
            .header("x-user-id", self.user)
            .json(&json!({"input": "hello", "session_key": session}));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await?;
        ensure!(answer.status() == 201, "{}: {}", answer.status(), answer.text().await?);
        let body: Value = answer.json().await?;
        Ok(body.get("run_id").and_then(Value::as_str).context("a run id")?.to_owned())
    }

    /// The time from before the POST until its `run.completed` was read from the stream.
    async fn one_run(&self, n: usize) -> Result<Duration> {
        let began = Instant::now();
        let run_id = self.post(&format!("s_seq_{n}")).await?;
        let url =
            format!("{}/api/runs/{run_id}/stream?org_id={ORG}&user_id={}", self.url, self.user);
        let mut body = self.client.get(url).send().await?.bytes_stream();
        let mut text = Vec::new();
        while let Some(bytes) = body.next().await {
            text.extend_from_slice(&bytes?);
            if find(&text, b"event: run.completed") {
                return Ok(began.elapsed());
            }
        }
        anyhow::bail!("the stream of {run_id} ended without `run.completed`")
    }

    /// Runs per second from the first POST to the last completion. A session that had runs would
    /// bring them along: the name must be new.
    async fn throughput(&self, name: &str) -> Result<f64> {
        let next = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let clients = (0..CLIENTS).map(|_| async {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= RUNS {
                    return Ok::<_, anyhow::Error>(());
                }
                self.post(&format!("{name}_{n}")).await?;
            }
        });
        futures::future::try_join_all(clients).await?;
        self.until_idle().await?;
        Ok(RUNS as f64 / began.elapsed().as_secs_f64())
    }

    async fn until_idle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.client.get(format!("{}/health", self.url)).send().await?;
            let health: Value = answer.json().await?;
            let waiting = |name: &str| {
                health
                    .pointer(&format!("/queue/{name}"))
                    .and_then(Value::as_u64)
                    .unwrap_or(u64::MAX)
            };
            if waiting("ready") == 0 && waiting("leased") == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "runs are stuck: {health}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A key of the organisation that the benchmark works for.
async fn admin_key(machine: &Machine) -> Result<String> {
    let output = Command::new(&machine.executable)
        .args(["keys", "create", "--admin", "--org", ORG, "bench"])
        .env("DATABASE_URL", machine.database.app_url())
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
