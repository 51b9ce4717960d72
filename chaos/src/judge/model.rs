//! G5: an answer of the model that was recorded is not asked for again.

use std::collections::HashMap;

use protocol::id::RunId;

use crate::{client::Acked, model::ModelRequest};

use super::{RecordedEvent, Violation};

/// Finds requests for a turn that began after that turn's answer was recorded. A worker that lost
/// its lease and does not know it yet may ask: `may_linger_us` says for how long.
pub(crate) fn check(
    events: &[RecordedEvent],
    acked: &[Acked],
    asked: &[ModelRequest],
    may_linger_us: i64,
) -> Vec<Violation> {
    let runs: HashMap<&str, RunId> =
        acked.iter().map(|acked| (acked.task.token.as_str(), acked.run_id)).collect();
    let recorded: HashMap<(RunId, i32), i64> = events
        .iter()
        .filter(|event| event.kind == "llm.called")
        .filter_map(|event| Some(((event.run_id, event.step?), event.at_us)))
        .collect();
    let again = asked.iter().filter_map(|asked| {
        let run_id = *runs.get(asked.token.as_str())?;
        let step = i32::try_from(asked.turn + 1).ok()?;
        let at_us = recorded.get(&(run_id, step))?;
        let late_us = asked.at_us - at_us;
        let detail =
            format!("step {step} was asked for again {late_us} µs after its answer was recorded");
        (late_us > may_linger_us).then(|| Violation::of("G5", run_id, detail))
    });
    again.collect()
}
