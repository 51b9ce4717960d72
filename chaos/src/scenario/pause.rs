//! A worker stands still for longer than its leases last, and goes on as if nothing had happened:
//! whatever it writes then must be refused, and what it did must not be done again.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::{
    client::PersistentClient,
    cluster::{Leases, Loss, Nodes},
    judge::{Case, Sight},
    load::Load,
    world::World,
};

/// Short, so that many pauses fit into a minute.
pub(super) const LEASES: Leases =
    Leases { lease: Duration::from_millis(2_000), renew: Duration::from_millis(600) };
/// The promised 99th percentile: the lease and a second.
pub(super) const RECOVERY_MAX_S: f64 = 3.0;

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (runs, pauses) = world.scale.of((30, 2), (1_000, 100));
    let load = Load { runs, in_flight: 16, steps: 5, words: 6, pace_ms: 15 };
    let faults = pause_workers(world, nodes, pauses);
    let (acked, losses) = load.post_while(&client, &world.pool, faults).await?;
    Ok(Case {
        acked,
        losses,
        may_linger_us: i64::try_from(LEASES.lease.as_micros() * 2)?,
        faults: format!("{pauses} × SIGSTOP of a worker for 1.5 leases, then SIGCONT"),
        // A few pauses are too few to be sure of either.
        must_see: world.scale.of(vec![Sight::Takeover], vec![Sight::Takeover, Sight::FencedWrite]),
        recovery_max_s: world.scale.of(None, Some(RECOVERY_MAX_S)),
        ..Case::new(client)
    })
}

async fn pause_workers(world: &World, nodes: &Nodes, pauses: usize) -> Result<Vec<Loss>> {
    let mut dice = world.dice(2);
    let mut losses = Vec::new();
    while losses.len() < pauses {
        sleep(Duration::from_millis(dice.u64(200..=700))).await;
        let victim = nodes.busiest(&world.pool).await?;
        let victim = nodes.workers.get(victim).context("a worker")?;
        losses.push(victim.lose(Signal::SIGSTOP, &world.pool).await?);
        sleep(LEASES.lease * 3 / 2).await;
        victim.signal(Signal::SIGCONT)?;
    }
    Ok(losses)
}
