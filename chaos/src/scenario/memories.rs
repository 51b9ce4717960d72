//! Memories are written in every way there is, by runs with `memory_write`, one by one and in bulk,
//! and searched all the while, and nodes of both kinds are killed. What was acknowledged must be
//! there, whole and once, and nothing else.
//!
//! Here is seen what the API shows at the end; whether all of a memory is in the database, and
//! whether runs wrote what they said, the judge looks up after every scenario.

mod found;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use protocol::id::MemoryId;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    client::{Acked, PersistentClient, USER},
    cluster::{Loss, Nodes},
    judge::{Case, PATIENCE, SOMETIMES, Sight, Violation},
    load::{Load, wait_for_ends},
    model::{Task, memory_text},
    world::World,
};

/// Rounds of writing at once.
const AT_ONCE: usize = 8;
/// Turns of a run that write, and what each of them writes.
const TURNS: u64 = 2;
const OF_A_TURN: u64 = 15;
/// What is written one by one in a round.
const ONE_BY_ONE: u64 = 10;
/// What is written at once in a round.
const BULK: u64 = 35;
/// All that a round writes.
const OF_A_ROUND: u64 = TURNS * OF_A_TURN + ONE_BY_ONE + BULK;
/// Those who write and search, the one of the runs among them.
const USERS: [&str; 2] = [USER, "other"];
/// Longest life of a run.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// Without a pause, a searcher would take a whole core.
const BETWEEN_SEARCHES: Duration = Duration::from_millis(20);
/// The rest after an answer that did not come.
const REST: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (rounds, kills) = world.scale.of((20, 2), (334, 10));
    let progress = watch::Sender::new(0);
    let writing = Writing {
        client: &client,
        pool: &world.pool,
        progress: &progress,
        unanswered: AtomicUsize::new(0),
        is_done: AtomicBool::new(false),
    };
    let (written, losses, seen) = tokio::try_join!(
        writing.write(rounds),
        kill_nodes(world, nodes, progress.subscribe(), rounds as u64 * OF_A_ROUND, kills),
        try_join_all(USERS.iter().zip(20..).map(|(user, n)| writing.search(user, world.dice(n)))),
    )?;
    let unanswered = writing.unanswered.into_inner();
    wait_for_ends(&world.pool, &client.org, PATIENCE).await;

    let (acked, memories): (Vec<_>, Vec<_>) = written.into_iter().unzip();
    let memories: Vec<Written> = memories.into_iter().flatten().collect();
    let (searches, hits): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let hits: Vec<_> = hits.into_iter().flatten().collect();
    let mut violations = found::faults(&client, &USERS, &memories, &hits, BULK).await?;
    if unanswered == 0 && kills > 2 {
        violations.push(Violation::new(SOMETIMES, "no writer was left without an answer"));
    }
    let by_runs = acked.len() as u64 * TURNS * OF_A_TURN;
    Ok(Case {
        acked,
        losses,
        violations,
        faults: format!(
            "{} memories written, {by_runs} of them by `memory_write`, beside {} searches; {kills} \
             × kill -9 of an API node and a worker; {unanswered} writes were not answered",
            memories.len() as u64 + by_runs,
            searches.iter().sum::<usize>(),
        ),
        must_see: vec![Sight::Takeover],
        ..Case::new(client)
    })
}

/// A memory that was acknowledged.
#[derive(Debug)]
struct Written {
    user: &'static str,
    id: MemoryId,
    text: String,
}

/// What all writers and searchers share.
struct Writing<'a> {
    client: &'a PersistentClient,
    pool: &'a PgPool,
    /// How many memories are acknowledged.
    progress: &'a watch::Sender<u64>,
    /// Writes whose node was gone before it answered.
    unanswered: AtomicUsize,
    is_done: AtomicBool,
}

impl Writing<'_> {
    /// Writes so many rounds; for each a run that did, and what else was acknowledged.
    async fn write(&self, rounds: usize) -> Result<Vec<(Acked, Vec<Written>)>> {
        let by_users = (0..rounds).zip(USERS.into_iter().cycle());
        let rounds = stream::iter(by_users).map(async |(n, user)| {
            let (acked, mut written, bulk) =
                tokio::try_join!(self.run(n), self.one_by_one(user, n), self.bulk(user, n))?;
            written.extend(bulk);
            Ok((acked, written))
        });
        let written = rounds.buffer_unordered(AT_ONCE).try_collect().await;
        self.is_done.store(true, Ordering::Relaxed);
        written
    }

    /// A run that writes, to its end.
    async fn run(&self, n: usize) -> Result<Acked> {
        let load = Load { runs: 0, in_flight: 0, steps: TURNS + 1, words: 1, pace_ms: 1 };
        let task = Task { memories: OF_A_TURN, ..load.task(self.client, n) };
        let acked = self.client.create(&task).await?;
        let began = Instant::now();
        while !has_ended(self.pool, &self.client.org, &acked).await? {
            ensure!(began.elapsed() < LIFE_MAX, "{} does not end", acked.run_id);
            sleep(LOOK_EVERY).await;
        }
        self.count(TURNS * OF_A_TURN);
        Ok(acked)
    }

    /// A writer without an answer writes the same again: it must not be there twice.
    async fn one_by_one(&self, user: &'static str, n: usize) -> Result<Vec<Written>> {
        let mut written = Vec::new();
        for at in 0..ONE_BY_ONE {
            let text = memory_text(&format!("{}_post_{n}", self.client.org), at);
            let body = json!({"type": "archival", "text": text});
            let answer = loop {
                if let Some(answer) = self.ask(user, "", &body).await? {
                    break answer;
                }
            };
            let id = answer.get("id").and_then(Value::as_str).context("an id")?.parse()?;
            written.push(Written { user, id, text });
            self.count(1);
        }
        Ok(written)
    }

    /// A writer without an answer writes another group: the first one must be there as a whole, or not at all.
    async fn bulk(&self, user: &'static str, n: usize) -> Result<Vec<Written>> {
        for again in 0.. {
            let group = format!("{}_bulk_{n}_{again}", self.client.org);
            let texts: Vec<_> = (0..BULK).map(|at| memory_text(&group, at)).collect();
            let memory = |(at, text)| json!({"type": "archival", "text": text, "group_key": group, "position": at});
            let memories: Vec<_> = texts.iter().enumerate().map(memory).collect();
            let Some(answer) = self.ask(user, "/bulk", &json!({"memories": memories})).await?
            else {
                continue;
            };
            let ids = answer.get("ids").and_then(Value::as_array).context("ids")?;
            ensure!(ids.len() == texts.len(), "{} ids of {} memories", ids.len(), texts.len());
            self.count(BULK);
            let written = ids.iter().zip(texts).map(|(id, text)| {
                Ok(Written { user, id: id.as_str().context("an id")?.parse()?, text })
            });
            return written.collect();
        }
        Ok(Vec::new())
    }

    /// Searches until all is written; says how often, and what was found.
    async fn search(&self, user: &str, mut dice: Rng) -> Result<(usize, Vec<MemoryId>)> {
        let (mut searches, mut found) = (0, Vec::new());
        while !self.is_done.load(Ordering::Relaxed) {
            let query = format!("第 {} 条记录 about the harbour", dice.u64(..BULK));
            let answer = self.client.ask_memory(user, "/search", &json!({"query": query})).await?;
            sleep(BETWEEN_SEARCHES).await;
            let Some(answer) = answer else { continue };
            searches += 1;
            for hit in answer.get("hits").and_then(Value::as_array).context("hits")? {
                found.push(hit.get("id").and_then(Value::as_str).context("an id")?.parse()?);
            }
        }
        Ok((searches, found))
    }

    async fn ask(&self, user: &str, path: &str, body: &Value) -> Result<Option<Value>> {
        let answer = self.client.ask_memory(user, path, body).await?;
        if answer.is_none() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            sleep(REST).await;
        }
        Ok(answer)
    }

    fn count(&self, memories: u64) {
        self.progress.send_modify(|there| *there += memories);
    }
}

async fn has_ended(pool: &PgPool, org: &str, run: &Acked) -> Result<bool> {
    let ended = sqlx::query_scalar(
        "select ended_at is not null from runs where org_id = $1 and run_id = $2",
    );
    Ok(ended.bind(org).bind(run.run_id.uuid()).fetch_one(pool).await?)
}

/// Kills an API node and the worker with most runs, each time once so many memories are acknowledged
/// as the dice say.
async fn kill_nodes(
    world: &World,
    nodes: &mut Nodes,
    mut progress: watch::Receiver<u64>,
    all: u64,
    kills: u64,
) -> Result<Vec<Loss>> {
    let mut dice = world.dice(8);
    let mut losses = Vec::new();
    let part = all * 9 / 10 / kills; // The last one is not to come too late.
    for n in 0..kills {
        let at = n * part + dice.u64(..part);
        progress.wait_for(|there| *there >= at).await?;
        let worker = nodes.busiest(&world.pool).await?;
        let worker = nodes.workers.get_mut(worker).context("a worker")?;
        let api = dice.usize(..nodes.apis.len());
        let api = nodes.apis.get_mut(api).context("a node")?;
        let (loss, _) = tokio::try_join!(worker.kill(&world.pool), api.kill(&world.pool))?;
        losses.push(loss);
        tokio::try_join!(worker.start_again(&world.pool), api.start_again(&world.pool))?;
    }
    Ok(losses)
}
