//! A worker loses the database while everybody else keeps it: it loses only the connection that
//! proves it alive, and writes on beside the worker that took over; or it hears nothing, or is not told what
//! became of its writes, or its connections break. It must neither write nor act afterwards as
//! if it still held its runs.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::{
    client::PersistentClient,
    cluster::{Loss, Nodes},
    judge::{Case, Sight},
    link::LinkState,
    load::Load,
    world::World,
};

pub(super) use super::pause::LEASES;
use super::pause::RECOVERY_MAX_S;

/// In this order. Where the link stays open only the proof of life is lost; how long the worker does
/// not know it is luck, so that is tried more often. The short form leaves out the last.
const OUTAGES: [LinkState; 6] = [
    LinkState::Open,
    LinkState::Open,
    LinkState::Open,
    LinkState::Silent,
    LinkState::Deaf,
    LinkState::Cut,
];

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (runs, outages) = world.scale.of((30, 5), (1_000, 60));
    // Nearly all that these runs write are events: what comes too late would stand behind what
    // another worker wrote.
    let load = Load { runs, in_flight: 16, steps: 12, words: 2, pace_ms: 15 };
    let faults = part_workers(world, nodes, outages);
    let (acked, losses) = load.post_while(&client, &world.pool, faults).await?;
    Ok(Case {
        acked,
        losses,
        may_linger_us: i64::try_from(LEASES.lease.as_micros() * 2)?,
        faults: format!(
            "{outages} × a worker without its database, or taken for dead, for 1.5 leases"
        ),
        must_see: vec![Sight::Takeover, Sight::FencedWrite],
        recovery_max_s: world.scale.of(None, Some(RECOVERY_MAX_S)),
        ..Case::new(client)
    })
}

async fn part_workers(world: &World, nodes: &mut Nodes, outages: usize) -> Result<Vec<Loss>> {
    let mut dice = world.dice(5);
    let mut losses = Vec::new();
    for outage in OUTAGES.iter().cycle().take(outages).copied() {
        sleep(Duration::from_millis(dice.u64(1_000..=2_000))).await; // It comes back meanwhile.
        nodes.recognise(&world.pool).await?;
        let victim = match outage {
            LinkState::Open => nodes.busiest(&world.pool).await?,
            LinkState::Silent | LinkState::Deaf | LinkState::Cut => {
                dice.usize(..nodes.workers.len())
            }
        };
        let worker = nodes.workers.get(victim).context("a worker")?;
        let link = nodes.links.get(victim).context("its link")?;
        losses.push(worker.held(&world.pool).await?);
        if outage == LinkState::Open {
            worker.lose_presence(&world.pool).await?;
            continue;
        }
        link.become_state(outage);
        sleep(LEASES.lease * 3 / 2).await;
        if outage == LinkState::Deaf {
            // It never hears what became of its writes.
            link.become_state(LinkState::Cut);
            sleep(Duration::from_millis(dice.u64(..=500))).await;
        }
        link.become_state(LinkState::Open);
    }
    Ok(losses)
}
