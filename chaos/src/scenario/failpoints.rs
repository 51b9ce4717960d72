//! A process dies at each named point in turn, and what it leaves is compared with what must be left
//! there. One round is one death; how a process is led to a point is in `death`, what must be left in
//! `points`.

mod death;
mod left;
mod points;

use std::time::Duration;

use anyhow::{Context, Result};

use crate::{
    client::{Acked, PersistentClient},
    cluster::{Leases, Nodes},
    judge::{Case, PATIENCE, Sight, Violation},
    load::wait_for_ends,
    world::{Scale, World},
};

use self::{
    death::die_at,
    left::Left,
    points::{POINTS, Point},
};

/// Renewed often, so that the point before a renewal is soon reached.
pub(super) const LEASES: Leases =
    Leases { lease: Duration::from_secs(10), renew: Duration::from_millis(300) };
/// Deaths at each point in the long form.
const TIMES: usize = 10;

/// A process was led to a point.
struct Round {
    point: &'static Point,
    died: bool,
    /// The run that was in its hands, if one was, and those beside it.
    acked: Vec<Acked>,
    /// What was wrong at once.
    violations: Vec<Violation>,
}

pub(super) async fn run(
    world: &World,
    nodes: &mut Nodes,
    client: PersistentClient,
) -> Result<Case> {
    let points = POINTS.iter().filter(|point| world.scale == Scale::Long || !point.only_long);
    let mut rounds = Vec::new();
    for point in points {
        for n in 0..world.scale.of(1, TIMES) {
            let round = die_at(world, nodes, &client, point, n).await;
            rounds.push(round.with_context(|| format!("a death at `{}`", point.name))?);
            wait_for_ends(&world.pool, &client.org, PATIENCE).await;
        }
    }
    let left = Left::read(world, &client.org).await?;
    let violations: Vec<_> = rounds.iter().flat_map(|round| left.faults(round)).collect();
    let deaths = rounds.iter().filter(|round| round.died).count();
    let may_cancel = rounds.iter().filter(|round| round.point.is_cancel()).flat_map(acked_ids);
    Ok(Case {
        may_cancel: may_cancel.collect(),
        faults: format!(
            "{deaths} × death at a failpoint, {} left something else than they \
                         must",
            violations.len()
        ),
        must_see: vec![Sight::Takeover, Sight::Unknown],
        acked: rounds.iter().flat_map(|round| round.acked.clone()).collect(),
        violations,
        ..Case::new(client)
    })
}

fn acked_ids(round: &Round) -> impl Iterator<Item = protocol::id::RunId> {
    round.acked.iter().map(|acked| acked.run_id)
}
