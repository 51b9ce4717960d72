//! I5: what really reached the tool servers, beside what the events and the ledger say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use protocol::id::{CallId, RunId};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    client::Acked,
    tools::{AGAIN, Execution, MEMORY_WRITE, ONCE},
};

use super::{RecordedEvent, Violation};

/// Finds effects that happened twice, that nobody intended, and results without an effect.
pub(crate) fn check(
    events: &[RecordedEvent],
    acked: &[Acked],
    executions: &[Execution],
) -> Vec<Violation> {
    let runs: HashMap<&str, RunId> =
        acked.iter().map(|acked| (acked.task.token.as_str(), acked.run_id)).collect();
    let ours: Vec<&Execution> =
        executions.iter().filter(|one| runs.contains_key(one.token.as_str())).collect();
    let run_of = |one: &Execution| runs.get(one.token.as_str()).copied();
    let mut violations = Vec::new();

    // By what was done, not by any id of the product's: one turn of a run asks for it once.
    let mut by_deed: HashMap<(&str, &str, u64), Vec<&Execution>> = HashMap::new();
    let mut by_call: HashMap<&str, u64> = HashMap::new();
    for one in &ours {
        by_deed.entry((&one.token, &one.tool, one.step)).or_default().push(one);
        *by_call.entry(&one.call_id).or_default() += 1;
    }
    for ((_, tool, step), times) in &by_deed {
        let Some(first) = times.first() else { continue };
        let ids: HashSet<&str> = times.iter().map(|one| one.call_id.as_str()).collect();
        let fault = match *tool {
            ONCE if times.len() > 1 => "happened, though it may at most once:",
            AGAIN if ids.len() > 1 => "happened under several ids:",
            _ => continue,
        };
        violations.push(Violation {
            check: "I5",
            run_id: run_of(first),
            detail: format!("{tool} of step {step} {fault} {} times as {ids:?}", times.len()),
        });
    }

    let intents: HashSet<&str> = events
        .iter()
        .filter(|event| event.kind == "tool.called")
        .map(|event| event.text("tool_call_id"))
        .collect();
    for one in ours.iter().filter(|one| !intents.contains(one.call_id.as_str())) {
        violations.push(Violation {
            check: "I5",
            run_id: run_of(one),
            detail: format!("call {} happened and was never intended", one.call_id),
        });
    }

    let results = events.iter().filter(|event| event.kind == "tool.result");
    for event in results.filter(|event| event.text("tool") != MEMORY_WRITE) {
        let times = by_call.get(event.text("tool_call_id")).copied().unwrap_or(0);
        let is_once = event.text("tool").ends_with(ONCE);
        let is_wrong = match event.text("outcome") {
            "ok" if is_once => times != 1,
            "ok" => times == 0,
            "denied" => times > 0,
            _ => is_once && times > 1,
        };
        if is_wrong {
            let (call, outcome) = (event.text("tool_call_id"), event.text("outcome"));
            let detail = format!("call {call} ended as {outcome} and happened {times} times");
            violations.push(Violation::of("I5", event.run_id, detail));
        }
    }
    violations.extend(misnamed(events));
    violations
}

/// Finds cancelled runs that name other open calls than they have.
fn misnamed(events: &[RecordedEvent]) -> Vec<Violation> {
    let mut open: HashMap<RunId, BTreeSet<&str>> = HashMap::new();
    let mut violations = Vec::new();
    for event in events {
        let calls = open.entry(event.run_id).or_default();
        match event.kind.as_str() {
            "tool.called" => drop(calls.insert(event.text("tool_call_id"))),
            "tool.result" => drop(calls.remove(event.text("tool_call_id"))),
            "run.cancelled" => {
                let list = |name: &str| event.payload.get(name).and_then(Value::as_array);
                let named = [list("stopped"), list("unknown")].into_iter().flatten().flatten();
                let named: BTreeSet<&str> = named.filter_map(Value::as_str).collect();
                if named != *calls {
                    let detail = format!("was cancelled with {calls:?} open, and names {named:?}");
                    violations.push(Violation::of("G8", event.run_id, detail));
                }
            }
            _ => {}
        }
    }
    violations
}

/// Finds calls whose ledger and events disagree, where the run came to its own end.
pub(crate) async fn check_ledger(
    pool: &PgPool,
    org: &str,
    events: &[RecordedEvent],
) -> Result<Vec<Violation>> {
    let ledger: Vec<(Uuid, Uuid, String)> = sqlx::query_as(
        "select run_id, call_id, c.status
         from tool_calls c join runs r using (org_id, run_id)
         where org_id = $1 and r.status = 'completed'",
    )
    .bind(org)
    .fetch_all(pool)
    .await?;
    Ok(disagreeing(&ledger, events))
}

/// How a call ended.
#[derive(Default)]
struct Said<'a> {
    in_ledger: Option<&'a str>,
    in_events: Option<&'a str>,
}

/// A call of the ledger is its run, its id, and how it ended.
fn disagreeing(ledger: &[(Uuid, Uuid, String)], events: &[RecordedEvent]) -> Vec<Violation> {
    let completed: HashSet<RunId> = events
        .iter()
        .filter(|event| event.kind == "run.completed")
        .map(|event| event.run_id)
        .collect();
    let mut calls: BTreeMap<(Uuid, Uuid), Said> = BTreeMap::new();
    for (run_id, call_id, status) in ledger {
        calls.entry((*run_id, *call_id)).or_default().in_ledger = Some(status);
    }
    for event in events.iter().filter(|event| completed.contains(&event.run_id)) {
        let Ok(call) = event.text("tool_call_id").parse::<CallId>() else { continue };
        let said = &mut calls.entry((event.run_id.uuid(), call.uuid())).or_default().in_events;
        if event.kind == "tool.result" {
            *said = Some(event.text("outcome"));
        }
    }
    calls
        .into_iter()
        .filter(|(_, said)| said.in_ledger.is_none() || said.in_ledger != said.in_events)
        .map(|((run_id, call_id), Said { in_ledger, in_events })| {
            let call = CallId::from_uuid(call_id);
            let detail =
                format!("call {call} is {in_ledger:?} in the ledger, {in_events:?} in events");
            Violation::of("I5", RunId::from_uuid(run_id), detail)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Task;

    const CALL: &str = "call_5e2c8gk1n4e5tv3k0v9x2m7qhd";

    fn acked() -> Acked {
        let task = Task { token: "t".into(), steps: 2, words: 1, pace_ms: 1, memories: 0 };
        Acked { run_id: "run_01kas5w4z8e5tv3k0v9x2m7qhd".parse().unwrap(), task }
    }

    fn event(kind: &str, tool: &str, outcome: &str) -> RecordedEvent {
        RecordedEvent {
            run_id: acked().run_id,
            seq: 1,
            epoch: 1,
            step: Some(1),
            kind: kind.into(),
            payload: json!({"tool_call_id": CALL, "tool": tool, "outcome": outcome}),
            at_us: 0,
        }
    }

    fn execution(tool: &str, call_id: &str) -> Execution {
        let (tool, token, call_id) = (tool.into(), "t".into(), call_id.into());
        Execution { tool, token, step: 1, call_id, pid: 1, at_us: 0 }
    }

    /// How many faults there are when the tool was called, answered so, and really ran so often.
    fn faults(tool: &str, outcome: &str, ran_as: &[&str]) -> usize {
        let events = [event("tool.called", tool, ""), event("tool.result", tool, outcome)];
        let ran: Vec<_> = ran_as.iter().map(|call| execution(tool, call)).collect();
        check(&events, &[acked()], &ran).len()
    }

    #[test]
    fn effects_are_counted() {
        assert_eq!(faults(ONCE, "ok", &[CALL]), 0);
        assert_eq!(faults(ONCE, "unknown", &[]), 0);
        assert_eq!(faults(ONCE, "unknown", &[CALL]), 0);
        assert_eq!(faults(AGAIN, "ok", &[CALL, CALL]), 0);
        assert_eq!(faults(ONCE, "ok", &[]), 1);
        assert_eq!(faults(AGAIN, "ok", &[]), 1);
        assert_eq!(faults(ONCE, "denied", &[CALL]), 1);
        // The deed was done twice, and the result is of a call that ran twice.
        assert_eq!(faults(ONCE, "ok", &[CALL, CALL]), 2);
        // Done twice, and once under an id that nobody intended.
        assert_eq!(faults(ONCE, "ok", &[CALL, "call_other"]), 2);
        assert_eq!(faults(AGAIN, "ok", &[CALL, "call_other"]), 2);
    }

    #[test]
    fn the_ledger_is_compared_with_the_events() {
        let mut events = vec![event("tool.called", ONCE, ""), event("tool.result", ONCE, "ok")];
        let (run_id, call_id): (_, CallId) = (acked().run_id.uuid(), CALL.parse().unwrap());
        let row = |status: &str| vec![(run_id, call_id.uuid(), status.to_owned())];
        // A run that did not come to its own end may leave intents behind.
        assert!(disagreeing(&[], &events).is_empty());
        let mut end = event("run.completed", "", "");
        end.payload = json!({});
        events.push(end);
        assert!(disagreeing(&row("ok"), &events).is_empty());
        assert_eq!(disagreeing(&row("intent"), &events).len(), 1);
        assert_eq!(disagreeing(&[], &events).len(), 1);
        assert_eq!(disagreeing(&row("ok"), &events[2..]).len(), 1);
    }
}
