//! How a run ends here: with its answer, with a failure, on request, or left to another worker.
//! Every intended call has a result or is named as unknown when the end is written.

use protocol::{event::Fact, id::CallId, run::RunError, tool::Effect};
use store::{
    failpoint,
    journal::{End, JournalError},
};

use crate::{recorder::EventSpan, settings::AfterRun, tools::answer::ToolAnswer};

use super::{
    active::{ActiveRun, millis},
    calls::OpenCall,
    stop::{AbandonReason, RunExit, StopReason},
};

impl ActiveRun<'_> {
    /// The answer is the last thing that the step wrote; both are one commit.
    pub(super) async fn complete(&mut self, output: String, is_cut: bool) -> StopReason {
        self.recorder.record(
            EventSpan::Run,
            Fact::RunCompleted {
                output: output.clone(),
                output_cut: is_cut,
                usage: self.totals.usage,
                cost_usd: self.totals.cost_usd,
                duration_ms: millis(self.elapsed()),
            },
        );
        // Nothing of a cut answer is remembered: the missing part may reverse its meaning.
        let is_worth_it = !is_cut && !output.trim().is_empty();
        if self.runtime.parts.after_run != AfterRun::Off && is_worth_it {
            self.recorder.remember();
        }
        if is_cut {
            self.recorder.cut_output();
        }
        if self.output_check.is_some() {
            self.recorder.json_output();
        }
        self.recorder.end(End::Completed { output });
        failpoint::pass("before_end_commit");
        match self.commit().await {
            Ok(()) => {
                failpoint::pass("after_end_commit");
                StopReason::Ended
            }
            Err(error) => error.into(),
        }
    }

    /// Writes how the run ends, unless that is written already or another worker has to write it.
    pub(super) async fn finish(mut self, stop: StopReason) -> RunExit {
        let end = match stop {
            StopReason::Ended => return RunExit::Ended,
            StopReason::Abandon(reason) => return self.abandoned(reason),
            StopReason::Cancelled => self.cancelled().await,
            StopReason::Fail(error) => self.failed(error),
        };
        let mut written = self.write_end(end.clone()).await;
        if let (Err(error), End::Failed { error: failure }) = (&written, end)
            && AbandonReason::of_end(error) == AbandonReason::EndNotWritten
        {
            // What was to be written beside the end may be what the database refuses.
            self.recorder.discard();
            let end = self.record_failure(failure);
            written = self.write_end(end).await;
        }
        match written {
            Ok(()) => RunExit::Ended,
            Err(error) => {
                let reason = AbandonReason::of_end(&error);
                let error = &error as &dyn std::error::Error;
                tracing::debug!(run_id = %self.claim.run_id, error, "a run's end was not written");
                self.abandoned(reason)
            }
        }
    }

    fn abandoned(&self, reason: AbandonReason) -> RunExit {
        metrics::counter!("openintern_runs_abandoned_total", "reason" => reason.as_str())
            .increment(1);
        tracing::warn!(run_id = %self.claim.run_id, reason = reason.as_str(), "a run is left to another worker");
        match reason {
            AbandonReason::LeaseLost | AbandonReason::DatabaseUnavailable => RunExit::Abandoned,
            // The next worker would be refused as well: released, the run would go on for ever.
            AbandonReason::EndNotWritten => RunExit::LeftToExpire,
        }
    }

    async fn write_end(&mut self, end: End) -> Result<(), JournalError> {
        self.recorder.end(end);
        match self.commit().await {
            Err(JournalError::CancelRequested) => {
                // The request came before this end did.
                let end = self.cancelled().await;
                self.recorder.end(end);
                self.commit().await
            }
            written => written,
        }
    }

    fn failed(&mut self, error: RunError) -> End {
        if self.recorder.was_interrupted() {
            // What is pending may have been written already, so it is not written again.
            self.recorder.discard();
        } else {
            for call in self.calls.without_result() {
                self.record_missing_result(call);
            }
            self.recorder.set_totals(self.totals);
        }
        self.record_failure(error)
    }

    fn record_failure(&mut self, error: RunError) -> End {
        self.recorder.record(
            EventSpan::Run,
            Fact::RunFailed { error: error.clone(), duration_ms: millis(self.elapsed()) },
        );
        End::Failed { error }
    }

    /// Gives a call a result before the run fails, so that readers of the trace miss none.
    fn record_missing_result(&mut self, call: OpenCall) {
        let answer = match call.effect {
            Effect::AtMostOnce => ToolAnswer::unknown(),
            Effect::ReadOnly | Effect::Idempotent => {
                ToolAnswer::error("the run ended before this call did")
            }
        };
        self.recorder.record(
            EventSpan::ToolCall(self.step.max(1), call.id),
            Fact::ToolResult {
                tool_call_id: call.id,
                tool: call.tool,
                is_error: true,
                outcome: answer.outcome,
                truncated: false,
                duration_ms: 0,
                result: answer.result,
            },
        );
    }

    async fn cancelled(&mut self) -> End {
        // What was not written when the request came stays unwritten and uncounted: nothing but the
        // end is committed after it.
        self.recorder.discard();
        let request = self.recorder.journal().cancel_request().await.ok().flatten();
        let (by, reason) = request.unwrap_or_else(|| ("unknown".into(), None));
        let (unknown, stopped): (Vec<_>, Vec<_>) =
            self.calls.in_flight().into_iter().partition(|call| call.effect == Effect::AtMostOnce);
        let ids = |calls: Vec<OpenCall>| -> Vec<CallId> {
            calls.into_iter().map(|call| call.id).collect()
        };
        let (stopped, unknown) = (ids(stopped), ids(unknown));
        self.recorder.record(EventSpan::Run, Fact::RunCancelled { by, reason, stopped, unknown });
        End::Cancelled
    }
}
