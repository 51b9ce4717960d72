//! A rolling restart under load: every node is asked to stop, waited for, and started again. No run
//! may be lost, taken over, or be any the worse for it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::{
    client::PersistentClient,
    cluster::{Nodes, STOP_MAX},
    judge::{Case, Sight, Violation},
    load::Load,
    world::World,
};

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let (runs, rounds) = world.scale.of((30, 1), (1_000, 10));
    let load = Load { runs, in_flight: 16, steps: 5, words: 4, pace_ms: 8 };
    let mut acked = Vec::new();
    // Runs that outlast every grace: these are handed back.
    let slow = Load { runs: world.scale.of(0, 4), steps: 12, words: 10, pace_ms: 500, ..load };
    for n in 0..slow.runs {
        let mut task = slow.task(&client, n);
        task.token.push_str("_slow");
        acked.push(client.create(&task).await?);
    }
    let faults = restart_all(world, nodes, rounds);
    let (posted, stops) = load.post_while(&client, &world.pool, faults).await?;
    acked.extend(posted);
    let longest = stops.iter().max().copied().unwrap_or_default();

    let mut case = Case {
        acked,
        faults: format!("{} × SIGTERM and start; the longest took {longest:.1?}", stops.len()),
        must_see: world.scale.of(Vec::new(), vec![Sight::HandedBack]),
        ..Case::new(client)
    };
    if longest > STOP_MAX {
        let detail = format!("a node took {longest:.1?} to stop");
        case.violations.push(Violation::new("G16", detail));
    }
    let rescued: i64 = sqlx::query_scalar(
        "select count(*) from events
         where org_id = $1 and type = 'run.resumed' and payload->>'reason' = 'worker_lost'",
    )
    .bind(&case.client.org)
    .fetch_one(&world.pool)
    .await?;
    if rescued > 0 {
        let detail = format!("{rescued} runs were taken over as if their worker had been lost");
        case.violations.push(Violation::new("G16", detail));
    }
    Ok(case)
}

async fn restart_all(world: &World, nodes: &mut Nodes, rounds: usize) -> Result<Vec<Duration>> {
    let mut stops = Vec::new();
    for _ in 0..rounds {
        for node in nodes.workers.iter_mut().chain(&mut nodes.apis) {
            stops.push(node.drain().await.context("a rolling restart")?);
            node.start_again(&world.pool).await?;
        }
    }
    Ok(stops)
}
