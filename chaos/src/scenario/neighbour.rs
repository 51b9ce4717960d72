//! One organisation does the worst that its limits allow: lists and events of large runs, streams
//! that are read and that are not, memories, and a backlog of large inputs. Another one asks for
//! little meanwhile: it must never be refused, and hardly wait longer than when it is alone.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, future::join_all, stream};
use protocol::id::RunId;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    client::{Acked, PersistentClient},
    cluster::Nodes,
    judge::{Case, PATIENCE, SOMETIMES, Violation},
    load::{Load, wait_for_ends},
    model::{Task, memory_text},
    world::{Scale, World},
};

/// How many times longer than alone an organisation may wait beside another.
const SLOWER_MAX: f64 = 3.0;
/// Waits below this are none, in milliseconds. The short form shares its machine with other work.
const FLOOR_MS: (f64, f64) = (1_000.0, 250.0);
/// Turns of being alone and of having a neighbour: the machine may have other work at one time than at
/// another.
const ROUNDS: (usize, usize) = (1, 4);
/// Longest time of sampling in a turn: fewer samples must do where they take longer.
const SAMPLING_MAX: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(30));
/// Characters of a large input, of which a request takes 262,144; its answer repeats them.
const INPUT_CHARS: usize = 200_000;
/// How often the answer of the run that is followed repeats its input: 4 MB is the most.
const REPEATED: u64 = 16;
/// Texts of a bulk write.
const BULK: u64 = 100;
/// Runs that are posted at once.
const POSTS: usize = 4;
/// How long a stream is held that is not read.
const HELD: Duration = Duration::from_secs(8);
/// Who is refused tries again after this.
const REST: Duration = Duration::from_millis(20);

pub(super) async fn run(world: &World, nodes: &Nodes, client: PersistentClient) -> Result<Case> {
    let rounds = world.scale.of(ROUNDS.0, ROUNDS.1);
    let samples = world.scale.of(12, 400) / rounds;
    let mut noisy = Noisy::prepare(world, nodes, &client).await?;
    let quiet = Quiet::prepare(world, client).await?;
    let (mut alone, mut beside) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        quiet.sample(world, &format!("alone_{round}"), samples, &mut alone).await?;
        let name = format!("beside_{round}");
        let measured = quiet.sample(world, &name, samples, &mut beside);
        noisy.ask_during(round, measured).await?;
        wait_for_ends(&world.pool, &noisy.client.org, PATIENCE).await;
    }

    let mut violations = beside.refused.clone();
    violations.extend(alone.refused.clone());
    let mut waits = Vec::new();
    for (ask, times) in &beside.times {
        let before = alone.times.get(ask).context("it was asked before")?;
        let (figure, share) = world.scale.of(("median", 0.5), ("99th percentile", 0.99));
        let (seen_ms, quiet_ms) = (share_of(times, share), share_of(before, share));
        let floor_ms = world.scale.of(FLOOR_MS.0, FLOOR_MS.1);
        let bound_ms = (SLOWER_MAX * quiet_ms).max(floor_ms);
        waits.push(format!("{ask} {seen_ms:.0} ms, alone {quiet_ms:.0}"));
        if seen_ms > bound_ms {
            let detail = format!(
                "the {figure} of {ask} is {seen_ms:.0} ms beside another organisation, alone \
                 {quiet_ms:.0} ms, at most {bound_ms:.0} ms"
            );
            violations.push(Violation::new("G12", detail));
        }
    }
    violations.extend(noisy.faults());
    let mut acked = quiet.acked;
    acked.extend(alone.acked);
    acked.extend(beside.acked);
    let faults = format!(
        "another organisation does its worst: {}; beside it ({}) {}",
        noisy.tally(),
        world.scale.of("p50", "p99"),
        waits.join(", ")
    );
    Ok(Case {
        acked,
        beside: vec![(noisy.client, noisy.acked)],
        violations,
        faults,
        ..Case::new(quiet.client)
    })
}

/// The organisation that asks for little.
struct Quiet {
    client: PersistentClient,
    acked: Vec<Acked>,
    /// A run that has ended.
    ended: Acked,
}

/// What it was answered.
#[derive(Default)]
struct Samples {
    /// In milliseconds, by what was asked.
    times: BTreeMap<&'static str, Vec<f64>>,
    refused: Vec<Violation>,
    acked: Vec<Acked>,
}

const SMALL: Load = Load { runs: 1, in_flight: 1, steps: 1, words: 1, pace_ms: 1 };

impl Quiet {
    async fn prepare(world: &World, client: PersistentClient) -> Result<Self> {
        let ended = client.create(&SMALL.task(&client, 0)).await?;
        wait_for_ends(&world.pool, &client.org, PATIENCE).await;
        Ok(Self { client, acked: vec![ended.clone()], ended })
    }

    async fn sample(
        &self,
        world: &World,
        name: &str,
        samples: usize,
        seen: &mut Samples,
    ) -> Result<()> {
        let (client, scope) = (&self.client, self.client.scope());
        let mut dice = world.dice(8);
        let began = Instant::now();
        let most = world.scale.of(SAMPLING_MAX.0, SAMPLING_MAX.1);
        for n in (0..samples).take_while(|_| began.elapsed() < most) {
            sleep(Duration::from_millis(dice.u64(..50))).await;
            let mut task = SMALL.task(client, n);
            task.token = format!("{}_{name}_{n}", client.org);
            let create = async { text(client.post_once(&task, &task.token).await?).await };
            if let Some(body) = seen.time("create", create).await {
                seen.acked.push(Acked { run_id: run_id(&body)?, task });
            }
            let list = format!("/api/runs?{scope}&limit=50");
            seen.time("list", async { text(client.get_once(&list).await?).await }).await;
            let stream = format!("/api/runs/{}/stream?{scope}", self.ended.run_id);
            let begin = async {
                let mut answer = client.get_once(&stream).await?;
                let status = answer.status();
                let first = answer.chunk().await?.context("a stream says something")?;
                Ok((status, String::from_utf8_lossy(&first).into_owned()))
            };
            seen.time("stream", begin).await;
        }
        Ok(())
    }
}

impl Samples {
    /// How long it took, and what came; nothing if it was refused.
    async fn time(
        &mut self,
        ask: &'static str,
        answer: impl Future<Output = Result<(StatusCode, String)>>,
    ) -> Option<String> {
        let began = Instant::now();
        let answer = answer.await;
        self.times.entry(ask).or_default().push(began.elapsed().as_secs_f64() * 1e3);
        let refusal = match answer {
            Ok((status, body)) if status.is_success() => return Some(body),
            Ok((status, body)) => format!("{ask} was answered {status}: {body}"),
            Err(error) => format!("{ask} had no answer: {error:#}"),
        };
        self.refused.push(Violation::new("G12", refusal));
        None
    }
}

/// The organisation that asks for much.
struct Noisy {
    client: PersistentClient,
    scale: Scale,
    acked: Vec<Acked>,
    /// A run with a large answer.
    large: Acked,
    answers: Mutex<BTreeMap<(&'static str, u16), Answers>>,
}

/// Answers of one kind.
#[derive(Default)]
struct Answers {
    number: u64,
    bytes: usize,
}

impl Noisy {
    async fn prepare(world: &World, nodes: &Nodes, quiet: &PersistentClient) -> Result<Self> {
        let client = PersistentClient::new(format!("{}_noisy", quiet.org), nodes.urls())?;
        let quiet = &watch::Sender::new(true).subscribe();
        let large = post_large(&client, "large", REPEATED, quiet).await?;
        let runs = world.scale.of(20, 200);
        let client_of = &client;
        let acked: Vec<_> = stream::iter(0..runs)
            .map(|n| async move { post_large(client_of, &format!("first_{n}"), 1, quiet).await })
            .buffered(POSTS)
            .collect()
            .await;
        let mut acked = acked.into_iter().collect::<Result<Vec<_>>>()?;
        acked.push(large.clone());
        wait_for_ends(&world.pool, &client.org, PATIENCE).await;
        Ok(Self { client, scale: world.scale, acked, large, answers: Mutex::default() })
    }

    /// Asks for all that it may while something is measured.
    async fn ask_during(
        &mut self,
        round: usize,
        measured: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let (quiet, heard) = watch::channel(false);
        let measured = async {
            let measured = measured.await;
            // It goes on until it has been answered all that it asks.
            let began = Instant::now();
            while !self.unanswered().is_empty() && began.elapsed() < PATIENCE {
                sleep(REST).await;
            }
            quiet.send_replace(true);
            measured
        };
        let mut ends = heard.clone();
        let noise = async {
            tokio::select! {
                () = self.ask_forever() => {}
                _ = ends.wait_for(|ended| *ended) => {}
            }
        };
        let (measured, posted, ()) = tokio::join!(measured, self.post_until(round, &heard), noise);
        self.acked.extend(posted?);
        measured
    }

    /// A backlog, which grows until it is quiet.
    async fn post_until(&self, round: usize, quiet: &watch::Receiver<bool>) -> Result<Vec<Acked>> {
        let most = self.scale.of(16, 250);
        let name = |n: usize| format!("next_{round}_{n}");
        stream::iter(0..most)
            .take_while(|_| ready(!*quiet.borrow()))
            .map(|n| async move { post_large(&self.client, &name(n), 1, quiet).await })
            .buffered(POSTS)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }

    /// All but the backlog, again and again.
    async fn ask_forever(&self) {
        let (lists, events, readers, sleepers, writers) =
            self.scale.of((300, 100, 20, 40, 1), (600, 200, 200, 400, 4));
        let scope = self.client.scope();
        let list = format!("/api/runs?{scope}&limit=500");
        let events_of = format!("/api/runs/{}/events?{scope}&limit=500", self.large.run_id);
        let stream = format!("/api/runs/{}/stream?{scope}", self.large.run_id);
        tokio::join!(
            join_all((0..lists).map(|_| self.read_forever("list", &list))),
            join_all((0..events).map(|_| self.read_forever("events", &events_of))),
            join_all((0..readers).map(|_| self.read_forever("stream", &stream))),
            join_all((0..sleepers).map(|_| self.hold_forever(&stream))),
            join_all((0..writers).map(|n| self.write_forever(n))),
        );
    }

    async fn read_forever(&self, ask: &'static str, path: &str) {
        loop {
            let answer = self.client.get_once(path).await;
            self.note(ask, answer).await;
        }
    }

    /// Opens streams, and reads nothing of them.
    async fn hold_forever(&self, path: &str) {
        loop {
            if let Ok(answer) = self.client.get_once(path).await
                && answer.status().is_success()
            {
                self.count("stream unread", answer.status(), 1, 0);
                sleep(HELD).await;
            }
            sleep(REST).await;
        }
    }

    async fn write_forever(&self, writer: usize) {
        for round in 0.. {
            let name = format!("{}_{writer}_{round}", self.client.org);
            let memories: Vec<_> = (0..BULK)
                .map(|n| json!({"type": "episodic", "text": memory_text(&name, n)}))
                .collect();
            let answer = self.client.post_memories(&memories).await;
            self.note("memories", answer).await;
        }
    }

    async fn note(&self, ask: &'static str, answer: Result<Response>) {
        let Ok(mut answer) = answer else { return sleep(REST).await };
        let status = answer.status();
        self.count(ask, status, 1, 0);
        while let Ok(Some(chunk)) = answer.chunk().await {
            self.count(ask, status, 0, chunk.len());
        }
        if !status.is_success() {
            sleep(REST).await;
        }
    }

    fn count(&self, ask: &'static str, status: StatusCode, number: u64, bytes: usize) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = answers.entry((ask, status.as_u16())).or_default();
        of_kind.number += number;
        of_kind.bytes += bytes;
    }

    /// The answers it got, counted.
    fn tally(&self) -> String {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = answers.iter().map(|((ask, status), Answers { number, bytes })| {
            format!("{number} × {ask} {status} ({} MB)", bytes / 1_000_000)
        });
        of_kind.collect::<Vec<_>>().join(", ")
    }

    fn faults(&self) -> Vec<Violation> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults: Vec<_> = answers
            .iter()
            .filter(|((_, status), _)| *status >= 500 && *status != 503)
            .map(|((ask, status), _)| Violation::new("I10", format!("{ask} was answered {status}")))
            .collect();
        drop(answers);
        for ask in self.unanswered() {
            faults.push(Violation::new(SOMETIMES, format!("no {ask} was answered")));
        }
        faults
    }

    /// What it asked for in vain so far.
    fn unanswered(&self) -> Vec<&'static str> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_answered =
            |ask| [200, 201].iter().any(|status| answers.contains_key(&(ask, *status)));
        let asks = ["list", "events", "stream", "stream unread", "memories"];
        asks.into_iter().filter(|ask| !is_answered(*ask)).collect()
    }
}

/// A run whose answer repeats its large input so often, posted until it is acknowledged. It may be
/// refused for as long as its organisation asks for too much, and for a while when it is quiet.
async fn post_large(
    client: &PersistentClient,
    name: &str,
    repeated: u64,
    quiet: &watch::Receiver<bool>,
) -> Result<Acked> {
    let name = format!("{}_{name}", client.org);
    let token = format!("{name}_{}", "x".repeat(INPUT_CHARS));
    let task = Task { token, words: repeated, ..SMALL.task(client, 0) };
    let mut quiet_since = Instant::now();
    loop {
        if !*quiet.borrow() {
            quiet_since = Instant::now();
        }
        let answer = client.post_in_session_once(&task, &name, &format!("s_{name}")).await;
        match answer {
            Ok(answer) if answer.status() == StatusCode::CREATED => {
                let run_id = run_id(&answer.text().await?)?;
                return Ok(Acked { run_id, task });
            }
            Ok(_) | Err(_) => ensure!(quiet_since.elapsed() < PATIENCE, "`{name}` is not taken"),
        }
        sleep(REST).await;
    }
}

fn run_id(created: &str) -> Result<RunId> {
    let created: Value = serde_json::from_str(created)?;
    Ok(created.get("run_id").and_then(Value::as_str).context("a run id")?.parse()?)
}

async fn text(answer: Response) -> Result<(StatusCode, String)> {
    Ok((answer.status(), answer.text().await?))
}

fn share_of(times: &[f64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let at = ((times.len().max(1) - 1) as f64 * share).ceil() as usize;
    times.get(at).copied().unwrap_or(f64::INFINITY)
}
