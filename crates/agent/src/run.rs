//! One run, from its claim to its end: restore, step after step, and how it ends.
//!
//! What may end a run early (its lease lost, a request to stop, time, its limits) is decided here;
//! what a step does is in `step`, and how an end is written in `end`.

mod active;
mod begin;
mod calls;
mod end;
mod spend;
mod step;
pub(crate) mod stop;

use std::time::Duration;

use protocol::run::RunErrorCode;
use store::queue::Claim;

use crate::{parts::Runtime, settings::WorkerSettings};

use self::{
    active::ActiveRun,
    step::StepEnd,
    stop::{RunExit, RunSignals, StopReason},
};

/// Works on a claimed run until it ends or another worker must go on.
pub(crate) async fn execute(
    runtime: &Runtime,
    claim: &Claim,
    settings: &WorkerSettings,
    signals: RunSignals,
) -> RunExit {
    let abandon = signals.abandon.clone();
    let work = async {
        let mut run = match ActiveRun::open(runtime, claim, signals).await {
            Ok(run) => run,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(run_id = %claim.run_id, error, "a run cannot be opened");
                return RunExit::Abandoned;
            }
        };
        let stop = if claim.cancel_requested {
            StopReason::Cancelled
        } else if claim.attempts > settings.max_attempts {
            StopReason::fail(
                RunErrorCode::MaxAttempts,
                format!("{} workers in a row were lost with this run", claim.attempts),
            )
        } else {
            work(&mut run).await
        };
        run.finish(stop).await
    };
    tokio::select! {
        biased;
        () = abandon.cancelled() => RunExit::Abandoned,
        exit = work => exit,
    }
}

/// Goes step by step until something ends the run; says what.
async fn work(run: &mut ActiveRun<'_>) -> StopReason {
    let left = Duration::from_secs(run.limits.max_wall_s.unwrap_or(u64::MAX >> 32))
        .saturating_sub(run.elapsed());
    let cancel = run.signals.cancel.clone();
    let stop = tokio::select! {
        biased;
        () = cancel.cancelled() => Some(StopReason::Cancelled),
        ended = tokio::time::timeout(left, Box::pin(steps(run))) => ended.ok(),
    };
    stop.unwrap_or_else(|| {
        let seconds = run.limits.max_wall_s.unwrap_or_default();
        StopReason::fail(RunErrorCode::TimeLimit, format!("`max_wall_s` = {seconds} is reached"))
    })
}

async fn steps(run: &mut ActiveRun<'_>) -> StopReason {
    if let Err(stop) = run.begin().await {
        return stop;
    }
    loop {
        // A step whose answer was recorded is finished before any limit is looked at.
        let has_open_step = std::mem::take(&mut run.has_open_step);
        if !has_open_step && let Some(stop) = limit_reached(run) {
            return stop;
        }
        run.step += 1;
        // Boxed: a step's future is large, and nested ones multiply.
        let step = if has_open_step {
            Box::pin(run.finish_step()).await
        } else {
            Box::pin(run.take_step()).await
        };
        match step {
            Ok(StepEnd::Continue) => {}
            Ok(StepEnd::Answer(output)) => return run.complete(output).await,
            Err(stop) => return stop,
        }
    }
}

fn limit_reached(run: &ActiveRun<'_>) -> Option<StopReason> {
    let limits = &run.limits;
    if let Some(most) = limits.max_steps.filter(|most| run.step >= *most) {
        return Some(StopReason::fail(
            RunErrorCode::StepLimit,
            format!("`max_steps` = {most} is reached"),
        ));
    }
    let used = run.totals.usage.total_tokens;
    if let Some(most) = limits.max_tokens.filter(|most| used >= *most) {
        return Some(StopReason::fail(
            RunErrorCode::TokenLimit,
            format!("`max_tokens` = {most} is reached: {used} are used"),
        ));
    }
    let spent = run.totals.cost_usd;
    limits.max_cost_usd.filter(|most| spent > 0.0 && spent >= *most).map(|most| {
        StopReason::fail(
            RunErrorCode::CostLimit,
            format!("`max_cost_usd` = {most} is reached: {spent} is spent"),
        )
    })
}
