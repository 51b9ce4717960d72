//! All nodes reach the database through PgBouncer in transaction mode, and only what needs a session
//! goes straight; meanwhile workers are killed, tools are called, and another organisation's streams
//! are cut. Two organisations share few connections: nothing of one may stick to them.

use anyhow::Result;

use crate::{
    client::PersistentClient,
    cluster::Nodes,
    judge::{Case, Sight},
    load::Load,
    scenario::{kill, stream},
    world::World,
};

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (runs, kills, cuts) = world.scale.of((30, 4, 60), (2_000, 100, 2_000));
    let load = Load { runs, in_flight: 16, steps: 5, words: 4, pace_ms: 8 };
    let followers = PersistentClient::new(format!("{}_followed", client.org), nodes.urls())?;
    let addresses = nodes.addresses();
    let ((acked, losses), seen) = tokio::try_join!(
        load.post_while(&client, &world.pool, kill::kill_workers(world, nodes, kills)),
        stream::follow_many(world, &followers, &addresses, cuts),
    )?;
    Ok(Case {
        acked,
        beside: vec![(followers, seen.acked)],
        losses,
        violations: seen.violations,
        reconnects: seen.reconnects,
        faults: format!("all through PgBouncer; {kills} × kill -9 of a worker"),
        must_see: vec![Sight::Takeover, Sight::StreamResumed],
        recovery_max_s: Some(kill::RECOVERY_MAX_S),
        ..Case::new(client)
    })
}
