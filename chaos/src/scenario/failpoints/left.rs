//! What was left after all rounds, beside what must be.

use anyhow::Result;

use crate::{
    client::Acked,
    judge::{self, RecordedEvent, SOMETIMES, Violation},
    model::ModelRequest,
    tools::{AGAIN, Execution, ONCE},
    world::World,
};

use super::{
    Round,
    points::{Death, Leaves},
};

/// All that is known of an organisation's runs.
pub(super) struct Left {
    events: Vec<RecordedEvent>,
    executions: Vec<Execution>,
    asked: Vec<ModelRequest>,
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
        let events: Vec<&RecordedEvent> =
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        model::Task,
        scenario::failpoints::points::{POINTS, Point},
    };

    fn point(name: &str) -> &'static Point {
        POINTS.iter().find(|point| point.name == name && point.skip == 0).unwrap()
    }

    /// What is wrong when the first call was sent once, and the next worker says this of it.
    fn faults(name: &str, outcome: &str) -> usize {
        let point = point(name);
        let run_id = "run_01kas5w4z8e5tv3k0v9x2m7qhd".parse().unwrap();
        let task = Task { token: "t".into(), steps: 2, words: 1, pace_ms: 1, memories: 0 };
        let event = |epoch, kind: &str, tool: &str, outcome: &str, reason: &str| RecordedEvent {
            run_id,
            seq: 1,
            epoch,
            step: Some(1),
            kind: kind.into(),
            payload: json!({"tool": tool, "outcome": outcome, "reason": reason}),
            at_us: 0,
        };
        let execution = |tool: &str| Execution {
            tool: tool.into(),
            token: "t".into(),
            step: 1,
            call_id: String::new(),
            pid: 1,
            at_us: 0,
        };
        let asked = |turn| ModelRequest { token: "t".into(), turn, at_us: 0 };
        let left = Left {
            events: vec![
                event(1, "tool.called", ONCE, "", ""),
                event(2, "run.resumed", "", "", "worker_lost"),
                event(2, "tool.result", ONCE, outcome, ""),
                event(2, "tool.result", AGAIN, "ok", ""),
            ],
            executions: vec![execution(ONCE), execution(AGAIN)],
            asked: vec![asked(0), asked(1)],
        };
        let acked = vec![Acked { run_id, task }];
        left.faults(&Round { point, died: true, acked, violations: Vec::new() }).len()
    }

    #[test]
    fn what_is_left_depends_on_the_point() {
        assert_eq!(faults("after_effect", "unknown"), 0);
        assert_eq!(faults("after_effect", "ok"), 1);
        assert_eq!(faults("after_result_commit", "ok"), 0);
        assert_eq!(faults("after_result_commit", "unknown"), 1);
        // The call was sent, and should not have been yet.
        assert_eq!(faults("after_intent_commit", "unknown"), 1);
    }

    #[test]
    fn who_survives_its_point_was_not_there() {
        let left = Left { events: Vec::new(), executions: Vec::new(), asked: Vec::new() };
        let point = point("before_migrations");
        let round = |died| Round { point, died, acked: Vec::new(), violations: Vec::new() };
        assert_eq!(left.faults(&round(false)).len(), 1);
        assert_eq!(left.faults(&round(true)).len(), 0);
    }
}
