//! `kill -9` of random workers while they work; each is started again at once.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::{
    client::PersistentClient,
    cluster::{Loss, Nodes},
    judge::{Case, Sight},
    load::Load,
    world::World,
};

/// The promised 99th percentile after the death of a process.
pub(super) const RECOVERY_MAX_S: f64 = 1.5;
/// Time between two kills, besides the start of the victim.
const BETWEEN_MS: std::ops::RangeInclusive<u64> = 50..=500;

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (runs, kills) = world.scale.of((60, 15), (5_000, 200));
    let load = Load { runs, in_flight: 24, steps: 5, words: 4, pace_ms: 8 };
    let faults = kill_workers(world, nodes, kills);
    let (acked, losses) = load.post_while(&client, &world.pool, faults).await?;
    Ok(Case {
        acked,
        losses,
        faults: format!("{kills} × kill -9 of a worker"),
        must_see: vec![Sight::Takeover, Sight::Unknown],
        recovery_max_s: Some(RECOVERY_MAX_S),
        ..Case::new(client)
    })
}

pub(super) async fn kill_workers(
    world: &World,
    nodes: &mut Nodes,
    kills: usize,
) -> Result<Vec<Loss>> {
    let mut dice = world.dice(1);
    let mut losses = Vec::new();
    while losses.len() < kills {
        sleep(Duration::from_millis(dice.u64(BETWEEN_MS))).await;
        let victim = dice.usize(..nodes.workers.len());
        let victim = nodes.workers.get_mut(victim).context("a worker")?;
        losses.push(victim.kill(&world.pool).await?);
        victim.start_again(&world.pool).await?;
    }
    Ok(losses)
}
