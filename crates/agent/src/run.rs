//! One run, from its claim to its end: restore, step after step, and how it ends.
//!
//! What may end a run early (its lease lost, a request to stop, time, its limits) is decided here;
//! what a step does is in `step`, and how an end is written in `end`.

mod active;
mod begin;
mod cache;
mod calls;
mod compact;
mod conversation;
mod end;
mod sent;
mod shrink;
mod spend;
mod step;
pub(crate) mod stop;
mod summary;
mod switch;
mod window;

use std::time::Duration;

use protocol::run::RunErrorCode;
use store::{
    failpoint,
    queue::{Claim, Verdict},
};
use tokio::time::timeout;

use crate::parts::Runtime;

use self::{
    active::{ActiveRun, limits, size_limit},
    step::StepEnd,
    stop::{RunExit, RunSignals, StopReason},
};

/// How long it may take to restore the state of a run.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(20);

/// Executes a claimed run until it ends or another worker must go on.
pub(crate) async fn execute(runtime: &Runtime, claim: &Claim, signals: RunSignals) -> RunExit {
    let abandon = signals.abandon.clone();
    tokio::select! {
        biased;
        () = abandon.cancelled() => RunExit::Abandoned,
        exit = open_and_work(runtime, claim, signals) => exit,
    }
}

/// A run that is to end is ended before anything of it is read: reading it may be what crashes
/// workers.
async fn open_and_work(runtime: &Runtime, claim: &Claim, signals: RunSignals) -> RunExit {
    let open = async {
        match end_before_opening(runtime, claim) {
            Some(stop) => {
                ActiveRun::open_to_end(runtime, claim, signals).await.map(|run| (run, Some(stop)))
            }
            None => {
                failpoint::pass_for("before_opening", &claim.agent_id);
                ActiveRun::open(runtime, claim, signals).await.map(|run| (run, None))
            }
        }
    };
    match timeout(RESTORE_TIMEOUT, open).await {
        Ok(Ok((mut run, stop))) => {
            let stop = match stop {
                Some(stop) => stop,
                None => work(&mut run).await,
            };
            run.finish(stop).await
        }
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(run_id = %claim.run_id, error, "a run cannot be opened");
            RunExit::LeftToExpire
        }
        Err(_) => {
            tracing::warn!(run_id = %claim.run_id, "a run was not opened in time");
            RunExit::LeftToExpire
        }
    }
}

/// Why the claim alone ends the run; none if it is to be executed.
fn end_before_opening(runtime: &Runtime, claim: &Claim) -> Option<StopReason> {
    match claim.verdict {
        Verdict::Cancel => Some(StopReason::Cancelled),
        Verdict::GiveUp => Some(StopReason::fail(
            RunErrorCode::MaxAttempts,
            format!("{} workers in a row were lost with this run", claim.attempts),
        )),
        Verdict::Execute | Verdict::ExecuteAlone => {
            let late = limits(runtime, claim)
                .max_wall_s
                .filter(|seconds| claim.elapsed >= Duration::from_secs(*seconds));
            late.map(time_limit).or_else(|| size_limit(runtime, claim.written_bytes))
        }
    }
}

fn time_limit(seconds: u64) -> StopReason {
    StopReason::fail(RunErrorCode::TimeLimit, format!("`max_wall_s` = {seconds} is reached"))
}

/// Takes step after step until something ends the run; returns the reason.
async fn work(run: &mut ActiveRun<'_>) -> StopReason {
    let left = Duration::from_secs(run.limits.max_wall_s.unwrap_or(u64::MAX >> 32))
        .saturating_sub(run.elapsed());
    let cancel = run.signals.cancel.clone();
    let stop = tokio::select! {
        biased;
        () = cancel.cancelled() => Some(StopReason::Cancelled),
        ended = tokio::time::timeout(left, Box::pin(steps(run))) => ended.ok(),
    };
    stop.unwrap_or_else(|| time_limit(run.limits.max_wall_s.unwrap_or_default()))
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
            Ok(StepEnd::Answer { output, is_cut }) => return run.complete(output, is_cut).await,
            Err(stop) => return stop,
        }
    }
}

fn limit_reached(run: &ActiveRun<'_>) -> Option<StopReason> {
    if let Err(stop) = run.check_size() {
        return Some(stop);
    }
    let limits = &run.limits;
    // What a fork has taken over, it has not done.
    let steps = run.step.saturating_sub(run.claim.forked_from_step.unwrap_or_default());
    if let Some(most) = limits.max_steps.filter(|most| steps >= *most) {
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
