//! A run that this worker executes: its state in memory, and the one way to write it. What happens
//! to it, and when, is decided in the modules beside.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use jiff::Zoned;
use model::{chat::ModelRef, models::ModelList};
use protocol::{
    event::Fact,
    id::RunId,
    message::{FIRST_MESSAGES, FoldedTurns, Message, Usage},
    name::AgentId,
    output::{OutputCheck, ResponseFormat},
    run::{RunErrorCode, RunLimits},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    error::StoreError,
    failpoint,
    journal::{Journal, JournalError, Restored, Totals},
    queue::Claim,
};

use crate::{
    parts::Runtime,
    recorder::{EventSpan, Recorder},
    settings::AgentSettings,
};

use super::{
    cache::SentPrompt,
    calls::CallLedger,
    conversation::RunConversation,
    stop::{RunSignals, StopReason},
};

/// The agent's state besides the conversation; kept in the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WorkingState {
    /// The first message that no summary of older steps has taken the place of.
    pub(super) kept_from: u32,
    /// What was sent to the model last.
    pub(super) sent: SentPrompt,
    /// The model that it went on with, where it has switched, `<provider>/<model>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// By model, what was seen of its window.
    pub(super) seen: BTreeMap<String, SeenOfModel>,
    /// How many messages of earlier turns are left out, the oldest: the prompt was refused with them.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) cut_turns: usize,
    /// Results that are shown shorter, for the same reason: place of the message, characters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) cut_results: BTreeMap<u32, u32>,
    /// Steps in a row in which no call could be made.
    pub(super) impossible_steps: u32,
    /// The last step's calls and their results, as a digest.
    pub(super) last_step: String,
    /// Steps in a row that were the same as the one before.
    pub(super) same_steps: u32,
    /// A bound on money is set, and the run was warned that its model has no price.
    pub(super) price_unknown: bool,
    /// Answers that did not match the schema that was asked for.
    pub(super) invalid_outputs: u32,
    /// Tools that were left out with a warning.
    pub(super) left_out: BTreeSet<String>,
}

/// What a run has seen of a model's window; kept in the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SeenOfModel {
    /// How many tokens the provider counts for each one that is estimated; 0 before it has counted.
    pub(super) counted_per_estimated: f64,
    /// A prompt of more tokens was refused, and the provider has not said how many it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) most_tokens: Option<u64>,
}

pub(super) struct ActiveRun<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) claim: &'a Claim,
    pub(super) agent: AgentSettings,
    /// The model that it asks now, and all that it may ask.
    pub(super) model: ModelRef,
    pub(super) models: ModelList,
    pub(super) limits: RunLimits,
    /// Checks its answer, where a schema was asked for.
    pub(super) output_check: Option<OutputCheck>,
    /// When the run was accepted, in its time zone: what "today" is to it, on whichever worker.
    pub(super) asked_at: Zoned,
    pub(super) recorder: Recorder,
    /// Earlier turns of the session, and the runs that they are of.
    pub(super) history: Vec<Message>,
    pub(super) history_runs: Vec<RunId>,
    /// What is to stand in the run's beginning of those before them.
    pub(super) folded: Option<FoldedTurns>,
    pub(super) conversation: RunConversation,
    /// Whether something was said since the last completed step.
    pub(super) has_begun_step: bool,
    /// The agent of the last completed step, if an earlier worker had the run or it is a fork.
    pub(super) told_agent: Option<AgentId>,
    /// Whether a step was not completed: its recorded answer and results end the conversation.
    pub(super) has_open_step: bool,
    pub(super) calls: CallLedger,
    /// Bytes of the results of this step.
    pub(super) results_bytes: usize,
    pub(super) state: WorkingState,
    pub(super) step: u32,
    pub(super) totals: Totals,
    /// What attempts of the present model call used that failed.
    pub(super) failed_attempts: (Usage, f64),
    pub(super) signals: RunSignals,
    claimed_at: Instant,
}

impl<'a> ActiveRun<'a> {
    /// Restores the state of the run, if a worker had it before.
    pub(super) async fn open(
        runtime: &'a Runtime,
        claim: &'a Claim,
        signals: RunSignals,
    ) -> Result<Self, StoreError> {
        let journal = runtime.parts.store.journal(claim);
        let kept_from = |state: &Value| {
            let from = state.get("kept_from").and_then(Value::as_u64).unwrap_or_default();
            u32::try_from(from).unwrap_or_default()
        };
        // A fork begins where its parent was.
        let restored = if claim.epoch > 1 || claim.forked_from_step.is_some_and(|step| step > 0) {
            Some(journal.restore(FIRST_MESSAGES, kept_from).await?)
        } else {
            None
        };
        Self::restored(runtime, claim, signals, journal, restored.unwrap_or_default())
    }

    /// Restores only what the end of the run must name: its open calls.
    pub(super) async fn open_to_end(
        runtime: &'a Runtime,
        claim: &'a Claim,
        signals: RunSignals,
    ) -> Result<Self, StoreError> {
        let journal = runtime.parts.store.journal(claim);
        let calls = if claim.last_seq > 0 { journal.open_calls().await? } else { HashMap::new() };
        let known = Restored { step: claim.step_count, calls, ..Restored::default() };
        Self::restored(runtime, claim, signals, journal, known)
    }

    fn restored(
        runtime: &'a Runtime,
        claim: &'a Claim,
        signals: RunSignals,
        journal: Journal,
        known: Restored,
    ) -> Result<Self, StoreError> {
        let agent = agent(runtime, claim);
        let zone = agent.zone(claim.timezone.as_ref(), &runtime.parts.zone);
        let asked_at = zone.at(claim.created_at);
        let state: WorkingState = match known.state {
            Value::Null => WorkingState::default(), // No step was completed.
            state => serde_json::from_value(state)
                .map_err(|error| StoreError::Unreadable(error.to_string()))?,
        };
        let written = known.messages_written;
        let mut conversation =
            RunConversation::restored(known.first, known.recent, known.recent_from);
        state.cut_results.iter().for_each(|(place, chars)| {
            conversation.shorten_result(*place, *chars);
        });
        let unknown = ModelRef { provider: String::new(), model: String::new() };
        let totals = Totals {
            steps: claim.step_count,
            tool_calls: claim.tool_call_count,
            usage: claim.usage,
            cost_usd: claim.cost_usd,
        };
        Ok(Self {
            runtime,
            claim,
            limits: limits(runtime, claim),
            agent,
            asked_at,
            output_check: None,
            models: unknown.clone().into(),
            model: unknown,
            recorder: Recorder::new(claim.run_id, journal, runtime.parts.redactor.clone(), written),
            history: Vec::new(),
            history_runs: Vec::new(),
            folded: None,
            has_begun_step: known.has_begun_step,
            told_agent: known.agent_id,
            has_open_step: known.has_open_step,
            conversation,
            calls: CallLedger::restored(known.calls),
            results_bytes: 0,
            state,
            step: known.step,
            totals,
            failed_attempts: (Usage::default(), 0.0),
            signals,
            claimed_at: Instant::now(),
        })
    }

    /// Why the run cannot go on, if it has reached its limit of bytes.
    pub(super) fn check_size(&self) -> Result<(), StopReason> {
        size_limit(self.runtime, self.recorder.journal().written_bytes()).map_or(Ok(()), Err)
    }

    /// The schema that the answer must match: the run's own, else its agent's.
    pub(super) fn response_format(&self) -> Option<&ResponseFormat> {
        self.claim.response_format.as_ref().or(self.agent.response_format.as_ref())
    }

    /// Time since a worker first took the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.claim.elapsed + self.claimed_at.elapsed()
    }

    /// Adds a message to the conversation; it is written with the next commit. The model will read
    /// what is written.
    pub(super) fn push(&mut self, message: Message) {
        let kept = self.recorder.append(message);
        self.conversation.push(kept);
    }

    pub(super) fn add_usage(&mut self, usage: Usage, cost_usd: f64) {
        let tokens = |kind: &'static str, count: u64| {
            metrics::counter!("openintern_model_tokens_total", "kind" => kind).increment(count);
        };
        tokens("input", usage.input_tokens);
        tokens("cached", usage.cached_tokens);
        tokens("output", usage.output_tokens);
        self.totals.usage += usage;
        self.totals.cost_usd += cost_usd;
        self.recorder.set_totals(self.totals);
    }

    pub(super) fn warn(&mut self, code: &str, message: String) {
        let span = if self.step == 0 { EventSpan::Run } else { EventSpan::Step(self.step) };
        let fact = Fact::RunWarning {
            code: code.into(),
            message,
            cause: None,
            tokens: None,
            switch: None,
        };
        self.recorder.record(span, fact);
    }

    /// Writes everything that was added since the last commit, or nothing.
    pub(super) async fn commit(&mut self) -> Result<(), JournalError> {
        let has_answers = self.calls.has_answers();
        if has_answers {
            failpoint::pass("before_result_commit");
        }
        self.recorder.commit().await?;
        self.calls.written();
        if has_answers {
            failpoint::pass("after_result_commit");
        }
        Ok(())
    }
}

/// The bounds of a run: those of its agent, as far as the request has not lowered them.
pub(super) fn limits(runtime: &Runtime, claim: &Claim) -> RunLimits {
    agent(runtime, claim).limits().lowered_by(claim.limits.unwrap_or_default())
}

/// Why a run with so many bytes written ends; none if it may have more.
pub(super) fn size_limit(runtime: &Runtime, written_bytes: u64) -> Option<StopReason> {
    let most = runtime.parts.size_limits.run_bytes;
    (written_bytes >= most).then(|| {
        StopReason::fail(
            RunErrorCode::SizeLimit,
            format!(
                "`run_bytes` = {most} is reached: its messages, events and results have \
                 {written_bytes} bytes"
            ),
        )
    })
}

fn agent(runtime: &Runtime, claim: &Claim) -> AgentSettings {
    runtime.parts.agents.get(&claim.agent_id).cloned().unwrap_or_default()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
