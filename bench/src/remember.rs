//! What memory costs runs whose texts differ: each finds what others of its user left, and leaves
//! something of its own. By number of users, by how much each remembers already, and by embedder.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    memory::variables,
    model::{self, Calls},
    server::{Machine, ServerProcess, cpu_of_family, executable},
    texts,
};

/// The organisation of the runs.
const ORG: &str = "org_bench";
/// Clients that post at once.
const CLIENTS: u64 = 32;
/// Most memories that are written before a round, of all users together.
const WRITTEN_MAX: u64 = 50_000;
/// Texts of one bulk write.
const BATCH: u64 = 100;
/// Longest wait for the last run of a round, or until it is remembered.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The options of `bench remember`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of a round
    #[arg(long, default_value_t = 3_000)]
    runs: u64,
    /// Users whose runs they are, a round each
    #[arg(long, value_delimiter = ',', default_value = "1,50,1000")]
    users: Vec<u64>,
    /// Memories that each user has before a round; of more than 50,000 in all no round is made
    #[arg(long, value_delimiter = ',', default_value = "0,1,100,1000,10000")]
    sizes: Vec<u64>,
    /// Embedders, a server each: `none`, or a value of OPENINTERN_EMBEDDING
    #[arg(long, value_delimiter = ',', default_value = "none,local/multilingual-e5-small")]
    embedding: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            runs: 3_000,
            users: vec![1, 50, 1_000],
            sizes: vec![0, 1, 100, 1_000, 10_000],
            embedding: vec!["none".to_owned(), "local/multilingual-e5-small".to_owned()],
        }
    }
}

/// Prints the table.
pub(crate) async fn measure(options: Options) -> Result<()> {
    let base_url = model::start(Calls::default()).await?;
    for embedding in &options.embedding {
        let on =
            async |machine: &Machine| measure_on(machine, &base_url, embedding, &options).await;
        Machine::lend(executable(), on).await?;
    }
    Ok(())
}

async fn measure_on(
    machine: &Machine,
    base_url: &str,
    embedding: &str,
    options: &Options,
) -> Result<()> {
    println!("\nembedder {embedding}, {CLIENTS} clients, rounds of {} runs\n", options.runs);
    println!(
        "| users | memories of each before | runs a second | beside plain | CPU a run, until all is \
         remembered: server, PostgreSQL | remembered while runs went on | all remembered after | \
         questions without a vector |\n|---|---|---|---|---|---|---|---|"
    );
    for users in &options.users {
        let plain = Round { users: *users, size: 0, remembers: false };
        let plain = plain.measure(machine, base_url, embedding, options.runs).await?;
        println!("| {users} | plain | {plain}");
        for size in options.sizes.iter().filter(|size| **size * users <= WRITTEN_MAX) {
            let round = Round { users: *users, size: *size, remembers: true };
            let figures = round.measure(machine, base_url, embedding, options.runs).await?;
            let figures = RoundFigures { beside: Some(figures.rate / plain.rate), ..figures };
            println!("| {users} | {size} | {figures}");
        }
    }
    Ok(())
}

/// Runs of some users that a server executes.
struct Round {
    users: u64,
    /// Memories of each user before.
    size: u64,
    remembers: bool,
}

/// What came of a round.
struct RoundFigures {
    rate: f64,
    /// The rate as a share of that of runs that remember nothing.
    beside: Option<f64>,
    server_ms: f64,
    postgres_ms: f64,
    /// The share of runs that were remembered when the last one ended.
    remembered: f64,
    drained_after: Duration,
    without_vector: f64,
}

impl std::fmt::Display for RoundFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let beside = self.beside.map_or(String::new(), |beside| format!("{beside:.2}"));
        write!(
            f,
            "{:.0} | {beside} | {:.2}, {:.2} ms | {:.0} % | {:.1} s | {:.0} |",
            self.rate,
            self.server_ms,
            self.postgres_ms,
            self.remembered * 100.0,
            self.drained_after.as_secs_f64(),
            self.without_vector
        )
    }
}

impl Round {
    async fn measure(
        &self,
        machine: &Machine,
        base_url: &str,
        embedding: &str,
        runs: u64,
    ) -> Result<RoundFigures> {
        let config = machine.folder().join("remember.toml");
        let after_run = if self.remembers { "extractive" } else { "off" };
        fs::write(
            &config,
            format!(
                "[model.providers.fake]\nkind = 'openai'\nbase_url = '{base_url}'\n\
                 [memory]\nafter_run = '{after_run}'\n"
            ),
        )?;
        let mut settings = variables(embedding);
        settings.push(("OPENINTERN_CONFIG", config.display().to_string()));
        settings.push(("OPENINTERN_MODEL", "fake/tells".to_owned()));
        let server = ServerProcess::start(machine, &settings).await?;
        let poster = Poster {
            client: Client::builder().no_proxy().build()?,
            url: server.url.clone(),
            // Those of each round are strangers to those of all others.
            user: format!("{}_{}_{}", self.remembers, self.users, self.size),
            users: self.users,
        };
        poster.fill(self.size).await?;
        poster.post(0).await?; // What a server does once is done.
        poster.until_idle().await?;
        let used =
            || Ok::<_, anyhow::Error>([server.cpu()?, cpu_of_family(machine.database.pid())?]);
        let (before, told) = (used()?, poster.metrics().await?);
        let began = Instant::now();
        poster.throughput(runs).await?;
        let rate = runs as f64 / began.elapsed().as_secs_f64();
        let since = async |name: &str, but: &str| {
            Ok::<_, anyhow::Error>(sum(&poster.metrics().await?, name, but) - sum(&told, name, but))
        };
        let remembered = since(REMEMBERED, "failed").await?;
        let ended = Instant::now();
        while self.remembers && since(REMEMBERED, "failed").await? < runs as f64 {
            ensure!(ended.elapsed() < PATIENCE, "runs are not remembered");
            sleep(LOOK_EVERY).await;
        }
        let drained_after = ended.elapsed();
        let [server_ms, postgres_ms] = {
            let [ours, postgres] = used()?;
            let [ours_before, postgres_before] = before;
            [ours - ours_before, postgres - postgres_before]
                .map(|time| time.as_secs_f64() * 1e3 / runs as f64)
        };
        let without_vector = since(QUESTIONS, "vector").await?;
        server.stop().await?;
        let remembered = remembered / runs as f64;
        Ok(RoundFigures {
            rate,
            beside: None,
            server_ms,
            postgres_ms,
            remembered,
            drained_after,
            without_vector,
        })
    }
}

const REMEMBERED: &str = "openintern_runs_remembered_total";
const QUESTIONS: &str = "openintern_memory_questions_total";

/// The sum of a metric over all outcomes but one.
fn sum(metrics: &str, name: &str, but: &str) -> f64 {
    let but = format!("outcome=\"{but}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && !line.contains(&but))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

struct Poster {
    client: Client,
    url: String,
    /// How the names of the users begin.
    user: String,
    users: u64,
}

impl Poster {
    fn user(&self, n: u64) -> String {
        format!("{}_{}", self.user, n % self.users)
    }

    /// Gives each user so many memories.
    async fn fill(&self, size: u64) -> Result<()> {
        for user in 0..self.users {
            let all: Vec<u64> = (0..size).collect();
            for batch in all.chunks(BATCH as usize) {
                // Numbers that no run has.
                let text = |n: &u64| texts::fact((user + 1) * 1_000_000 + n);
                let memories: Vec<_> =
                    batch.iter().map(|n| json!({"type": "episodic", "text": text(n)})).collect();
                self.send("/api/memories/bulk", user, &json!({"memories": memories})).await?;
            }
        }
        Ok(())
    }

    async fn post(&self, n: u64) -> Result<()> {
        let session = format!("s_{}_{n}", self.user);
        let input = format!("tell {n}: {}", texts::question(n));
        self.send("/api/runs", n, &json!({"input": input, "session_key": session})).await
    }

    async fn send(&self, path: &str, n: u64, body: &Value) -> Result<()> {
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        let request = request.header("x-org-id", ORG).header("x-user-id", self.user(n));
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await?);
        Ok(())
    }

    /// From the first POST to the last completion.
    async fn throughput(&self, runs: u64) -> Result<()> {
        let next = Arc::new(AtomicU64::new(1));
        let clients = (0..CLIENTS).map(|_| async {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n > runs {
                    return Ok::<_, anyhow::Error>(());
                }
                self.post(n).await?;
            }
        });
        futures::future::try_join_all(clients).await?;
        self.until_idle().await
    }

    async fn until_idle(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let health: Value = self.get("/health").await?.json().await?;
            let waiting = |name| health.pointer(name).and_then(Value::as_u64).context("a queue");
            if waiting("/queue/ready")? == 0 && waiting("/queue/leased")? == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "runs are stuck: {health}");
            sleep(LOOK_EVERY).await;
        }
    }

    async fn metrics(&self) -> Result<String> {
        Ok(self.get("/metrics").await?.text().await?)
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        Ok(self.client.get(format!("{}{path}", self.url)).send().await?)
    }
}
