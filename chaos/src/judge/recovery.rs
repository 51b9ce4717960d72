//! How long runs stood still after their worker was lost: from the injector's clock to the first
//! event of a later claim.

use std::collections::HashMap;

use uuid::Uuid;

use crate::cluster::Loss;

use super::RecordedEvent;

/// The times of one scenario, but for runs that are tried alone: after two losses in a row without a
/// completed step between, a run waits for a worker that holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Recovery {
    /// Runs that were held by a lost worker, and not tried alone.
    pub(crate) runs: usize,
    pub(crate) p50_s: Option<f64>,
    pub(crate) p99_s: Option<f64>,
    pub(crate) max_s: Option<f64>,
}

impl Recovery {
    /// A run that was lost again before it went on counts from its last loss.
    pub(crate) fn of(losses: &[Loss], events: &[RecordedEvent]) -> Self {
        let mut by_run: HashMap<Uuid, Vec<&RecordedEvent>> = HashMap::new();
        for event in events {
            by_run.entry(event.run_id.uuid()).or_default().push(event);
        }
        let held = |loss: &Loss| {
            let at_us = loss.at_us;
            loss.held.clone().into_iter().map(move |(run, epoch)| (run, epoch, at_us))
        };
        let all: Vec<(Uuid, i64, i64)> = losses.iter().flat_map(held).collect();
        let mut times_s = Vec::new();
        for (run, epoch, at_us) in &all {
            let went_on = by_run.get(run).into_iter().flatten().find(|event| event.epoch > *epoch);
            let Some(went_on) = went_on else { continue }; // It had ended just before.
            let lost_again = all.iter().any(|(other, later, again_us)| {
                other == run && later > epoch && *again_us < went_on.at_us
            });
            let completed = |after: i64| {
                by_run.get(run).into_iter().flatten().any(|event| {
                    event.kind == "step.completed" && after < event.epoch && event.epoch <= *epoch
                })
            };
            let is_suspect = all
                .iter()
                .any(|(other, earlier, _)| other == run && earlier < epoch && !completed(*earlier));
            if !lost_again && !is_suspect {
                times_s.push((went_on.at_us - at_us) as f64 / 1e6);
            }
        }
        times_s.sort_by(f64::total_cmp);
        let share = |share: f64| {
            let at = ((times_s.len().max(1) - 1) as f64 * share).ceil() as usize;
            times_s.get(at).copied()
        };
        Self { runs: times_s.len(), p50_s: share(0.5), p99_s: share(0.99), max_s: share(1.0) }
    }
}
