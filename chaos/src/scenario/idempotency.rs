//! Many clients post the same request at once, to both nodes, under the same key.

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};

use crate::{
    client::{Acked, PersistentClient},
    judge::{Case, Violation},
    load::Load,
    world::World,
};

/// Posts under one key.
const POSTS: usize = 20;
/// Keys that are posted at once.
const KEYS_AT_ONCE: usize = 4;

pub(super) async fn run(world: &World, client: PersistentClient) -> Result<Case> {
    let keys = world.scale.of(30, 1_000);
    let load = Load { runs: keys, in_flight: 0, steps: 1, words: 1, pace_ms: 1 };
    let outcomes: Vec<(Acked, Vec<Violation>)> = stream::iter(0..keys)
        .map(|n| post_many(&client, load, n))
        .buffer_unordered(KEYS_AT_ONCE)
        .try_collect()
        .await?;
    let (acked, violations): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
    Ok(Case {
        acked,
        violations: violations.into_iter().flatten().collect(),
        faults: format!("{keys} keys × {POSTS} concurrent POSTs, and one with another body"),
        ..Case::new(client)
    })
}

async fn post_many(
    client: &PersistentClient,
    load: Load,
    n: usize,
) -> Result<(Acked, Vec<Violation>)> {
    let task = load.task(client, n);
    let answers =
        try_join_all((0..POSTS).map(|_| client.create_with_key(&task, &task.token))).await?;
    let first = answers.first().context("an answer")?.run_id;
    let mut violations = Vec::new();
    if answers.iter().any(|answer| answer.run_id != first) {
        let ids: Vec<_> = answers.iter().map(|answer| answer.run_id.to_string()).collect();
        violations.push(Violation::of("I12", first, format!("one key, several runs: {ids:?}")));
    }
    let fresh = answers.iter().filter(|answer| !answer.replayed).count();
    if fresh != 1 {
        violations.push(Violation::of("I12", first, format!("{fresh} answers say they are new")));
    }
    let mut other = task.clone();
    other.words += 1;
    let answer = client.post_once(&other, &task.token).await?;
    if answer.status() != 422 {
        let detail = format!("the same key with another body was answered {}", answer.status());
        violations.push(Violation::of("I12", first, detail));
    }
    Ok((Acked { run_id: first, task }, violations))
}
