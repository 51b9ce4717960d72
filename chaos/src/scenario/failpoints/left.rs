//! What was left after all rounds, beside what must be.

use anyhow::Result;

use crate::{
    client::Acked,
    judge::{self, Event, SOMETIMES, Violation},
    model::Asked,
    tools::{AGAIN, Execution, ONCE},
    world::World,
};

use super::{
    Round,
    points::{Death, Leaves},
};

/// All that is known of an organisation's runs.
pub(super) struct Left {
    events: Vec<Event>,
    executions: Vec<Execution>,
    asked: Vec<Asked>,
}

impl Left {
    pub(super) async fn read(world: &World, org: &str) -> Result<Self> {
        Ok(Self {
            events: judge::events(&world.pool, org).await?,
            executions: world.executions()?,
            asked: world.model.journal(),
        })
    }

    /// What is wrong with a round.
    pub(super) fn faults(&self, round: &Round) -> Vec<Violation> {
        let name = round.point.name;
        if !round.died {
            return vec![Violation::new(SOMETIMES, format!("nothing died at `{name}`"))];
        }
        let mut faults = round.violations.clone();
        if let (Death::Worker(_, expected), Some(lost)) = (&round.point.death, round.acked.first())
        {
            let found = self.of(lost);
            if found != *expected {
                let detail = format!("death at `{name}` left {found:?}, not {expected:?}");
                faults.push(Violation::of("failpoint", lost.run_id, detail));
            }
        }
        faults
    }

    fn of(&self, lost: &Acked) -> Leaves<'_> {
        let events: Vec<&Event> =
            self.events.iter().filter(|event| event.run_id == lost.run_id).collect();
        let claims = events.iter().map(|event| event.epoch).max().unwrap_or(0);
        let victims = (claims - 1).max(1);
        let last = events.iter().rev().find(|event| event.epoch == victims);
        let next = events.iter().find(|event| event.epoch > victims);
        let call = |tool: &str| {
            let result = events
                .iter()
                .find(|event| event.kind == "tool.result" && event.text("tool").ends_with(tool));
            let token = &lost.task.token;
            let times =
                self.executions.iter().filter(|one| one.token == *token && one.tool == tool);
            (result.map_or("", |event| event.text("outcome")), times.count())
        };
        let asked = |turn: u64| {
            let asked = self.asked.iter();
            asked.filter(|one| one.token == lost.task.token && one.turn == turn).count()
        };
        Leaves {
            claims,
            last: last.map_or("", |event| event.kind.as_str()),
            resumed: next.map_or("", |event| event.text("reason")),
            once: call(ONCE),
            again: call(AGAIN),
            asked: [asked(0), asked(1)],
        }
    }
}
