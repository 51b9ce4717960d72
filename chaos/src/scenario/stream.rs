//! Followers whose connections are cut at random bytes, and who go on at the other node with
//! `Last-Event-ID`, while workers and API nodes are killed: what they received must be the whole
//! stream, in order, once.

pub(super) mod follower;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use crate::{
    client::{Acked, PersistentClient},
    cluster::Nodes,
    judge::{Case, Sight, Violation},
    load::Load,
    proxy::Proxy,
    world::World,
};

use self::follower::{Followed, follow};

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let cuts = world.scale.of(200, 10_000);
    let addresses = nodes.addresses();
    let done = AtomicBool::new(false);
    let (seen, kills) = tokio::try_join!(
        async {
            let seen = follow_many(world, &client, &addresses, cuts).await;
            done.store(true, Ordering::Relaxed);
            seen
        },
        kill_nodes(world, nodes, &done)
    )?;
    Ok(Case {
        acked: seen.acked,
        violations: seen.violations,
        reconnects: seen.reconnects,
        faults: format!(
            "{} × a stream cut and taken up on the other node, {kills} × kill -9 of a node",
            seen.reconnects
        ),
        must_see: vec![Sight::StreamResumed],
        ..Case::new(client)
    })
}

/// What all followers saw.
#[derive(Default)]
pub(super) struct StreamsSeen {
    pub(super) acked: Vec<Acked>,
    pub(super) violations: Vec<Violation>,
    pub(super) reconnects: u64,
}

/// Posts runs and follows them at these nodes, each connection cut, until so many were.
pub(super) async fn follow_many(
    world: &World,
    client: &PersistentClient,
    addresses: &[SocketAddr],
    cuts: u64,
) -> Result<StreamsSeen> {
    let mut proxies = Vec::new();
    for (address, purpose) in addresses.iter().zip(10..) {
        proxies.push(Proxy::start(*address, world.dice(purpose)).await?);
    }
    let urls: Vec<&str> = proxies.iter().map(|proxy| proxy.url.as_str()).collect();
    let at_once = world.scale.of(20, 40);
    let load = Load { runs: at_once, in_flight: 0, steps: 5, words: 20, pace_ms: 12 };
    let mut seen = StreamsSeen::default();
    while seen.reconnects < cuts {
        let begin = seen.acked.len();
        let followed: Vec<(Acked, Followed)> = stream::iter(begin..begin + at_once)
            .map(|n| post_and_follow(client, load, n, &urls))
            .buffer_unordered(at_once)
            .try_collect()
            .await?;
        for (run, followed) in followed {
            seen.reconnects += followed.reconnects;
            let last: i64 = sqlx::query_scalar("select last_seq from runs where run_id = $1")
                .bind(run.run_id.uuid())
                .fetch_one(&world.pool)
                .await
                .context("the run is there")?;
            let mut faults = followed.faults();
            if followed.last_seq() != u64::try_from(last)? {
                faults.push(format!("saw {} of {last} events", followed.last_seq()));
            }
            let faults = faults.into_iter().map(|fault| Violation::of("I11", run.run_id, fault));
            seen.violations.extend(faults);
            seen.acked.push(run);
        }
    }
    Ok(seen)
}

/// Kills nodes of both kinds until it is done.
async fn kill_nodes(world: &World, nodes: &mut Nodes, done: &AtomicBool) -> Result<usize> {
    let mut dice = world.dice(6);
    let mut kills = 0;
    while !done.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(dice.u64(1_500..=4_000))).await;
        let kind = if dice.bool() { &mut nodes.workers } else { &mut nodes.apis };
        let victim = dice.usize(..kind.len());
        let victim = kind.get_mut(victim).context("a node")?;
        victim.kill(&world.pool).await?;
        victim.start_again(&world.pool).await?;
        kills += 1;
    }
    Ok(kills)
}

async fn post_and_follow(
    client: &PersistentClient,
    load: Load,
    n: usize,
    urls: &[&str],
) -> Result<(Acked, Followed)> {
    let acked = client.create(&load.task(client, n)).await?;
    let followed = follow(acked.run_id, &client.scope(), urls).await?;
    Ok((acked, followed))
}
