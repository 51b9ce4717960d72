//! Which model of its list a run asks: the one at hand as long as it answers, then the next. And the wait
//! for a model that rests or for its provider's turn. The decision itself is `model::fallback`.

use std::{future::Future, pin::pin, time::Duration};

use model::{
    chat::ModelRef,
    error::ModelError,
    fallback::{Fallback, Others, Trouble, fallback},
    models::ModelList,
};
use protocol::{
    event::{Fact, ModelSwitch, SwitchReason},
    run::RunErrorCode,
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{gate::MODEL_WAIT_MAX, recorder::EventSpan, tools::ToolSet};

use super::{active::ActiveRun, stop::StopReason};

/// A wait that lasts longer is told in a warning.
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// A call that a model began to rest under is made so often again: what fails each time it is tried may
/// be at fault itself.
const RESTS_MAX: u32 = 3;

/// How soon a run that waits for one of several models looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What has become of one model call so far.
#[derive(Default)]
pub(super) struct Asking {
    /// Models that gave no answer to it.
    tried: Vec<ModelRef>,
    /// Why the one at hand is among them, while another that rests is waited for.
    failed: Option<ModelError>,
    /// How often it was given up because the model began to rest.
    rests: u32,
    /// How long it has waited.
    waited: Duration,
    has_told: bool,
}

impl ActiveRun<'_> {
    /// Takes the list of the run's models, and of them the one that an earlier worker went on with, or
    /// the first that may be asked.
    pub(super) fn take_models(&mut self, list: ModelList) {
        let before = self.state.model.as_deref();
        let gone_on = list.iter().find(|model| before == Some(model.to_string().as_str()));
        let gate = &self.runtime.gate;
        let org = &self.claim.scope.org_id;
        let ready = || list.iter().find(|model| gate.standing(model, org).may_be_asked());
        self.model = gone_on.or_else(ready).unwrap_or(&list.first).clone();
        self.state.model = (!list.others.is_empty()).then(|| self.model.to_string());
        self.models = list;
    }

    /// Returns once the run's model may be asked, or another one, with the tokens that its provider
    /// has given a turn for.
    pub(super) async fn reach_model(
        &mut self,
        tools: &ToolSet,
        asking: &mut Asking,
    ) -> Result<u64, StopReason> {
        let gate = &self.runtime.gate;
        loop {
            let failed = asking.failed.clone();
            let rests =
                match (&failed, gate.standing(&self.model, &self.claim.scope.org_id).rests()) {
                    (Some(_), _) => LOOK_AGAIN,
                    (None, Some(left)) => left,
                    (None, None) => {
                        let tokens = self.take_turn(tools, asking).await?;
                        match gate.enter(&self.model, &self.claim.scope.org_id).await {
                            Ok(()) => return Ok(tokens),
                            Err(left) => left,
                        }
                    }
                };
            let trouble = failed.as_ref().map_or(Trouble::Rests(rests), Trouble::Failed);
            match fallback(trouble, self.others(asking)) {
                Fallback::Switch(reason) => {
                    let error = failed.unwrap_or(ModelError::Resting);
                    self.switch(reason, &error, tools, asking).await?;
                }
                Fallback::Wait | Fallback::Shorten | Fallback::Fail => {
                    let changed = async {
                        tokio::select! {
                            () = gate.changed() => {}
                            () = sleep(rests) => {}
                        }
                    };
                    self.wait_for("a model that rests after failures", asking, changed).await?;
                }
            }
        }
    }

    /// What is done about a failed call.
    pub(super) fn fallback(&self, error: &ModelError, asking: &mut Asking) -> Fallback {
        let fallback = fallback(Trouble::Failed(error), self.others(asking));
        if fallback != Fallback::Wait {
            return fallback;
        }
        if *error != ModelError::Resting {
            asking.failed = Some(error.clone());
        }
        asking.rests += 1;
        if asking.rests > RESTS_MAX { Fallback::Fail } else { Fallback::Wait }
    }

    /// Whether the run had better go to another model now than wait for the next attempt.
    pub(super) fn is_given_up(&self, error: &ModelError, asking: &Asking) -> bool {
        let others = self.others(asking);
        if matches!(error, ModelError::Timeout { .. }) && others.ready {
            return true; // Silence has cost enough.
        }
        let rests = self.runtime.gate.standing(&self.model, &self.claim.scope.org_id).rests();
        let next = rests.map(|left| fallback(Trouble::Rests(left), others));
        matches!(next, Some(Fallback::Switch(_)))
    }

    /// Goes on with the next model, and says so.
    pub(super) async fn switch(
        &mut self,
        reason: SwitchReason,
        error: &ModelError,
        tools: &ToolSet,
        asking: &mut Asking,
    ) -> Result<(), StopReason> {
        let wider = reason == SwitchReason::ContextExceeded;
        asking.failed = None;
        let next = self.candidates(asking).find(|model| !wider || self.is_wider(model)).cloned();
        let Some(next) = next else { return Ok(()) };
        let from = std::mem::replace(&mut self.model, next);
        let (old, new) = (from.to_string(), self.model.to_string());
        if reason != SwitchReason::Resting {
            asking.tried.push(from); // It was asked.
        }
        metrics::counter!("openintern_model_switches_total", "reason" => reason.as_str())
            .increment(1);
        self.state.model = Some(new.clone());
        self.recorder.set_model(new.clone());
        let fact = Fact::RunWarning {
            code: "model_switched".to_owned(),
            message: format!("{old}: {error}; the run goes on with {new}"),
            cause: None,
            tokens: None,
            switch: Some(ModelSwitch { from: old, to: new, reason }),
        };
        self.recorder.record(EventSpan::Step(self.step), fact);
        self.compact(tools).await // Its window may be smaller.
    }

    fn others(&self, asking: &Asking) -> Others {
        let ready = self.candidates(asking).next().is_some();
        Others {
            ready,
            wider: self.candidates(asking).any(|model| self.is_wider(model)),
            resting: !ready && self.untried(asking).next().is_some(),
        }
    }

    /// The models that may be asked instead, in their order.
    fn candidates<'a>(&'a self, asking: &'a Asking) -> impl Iterator<Item = &'a ModelRef> {
        let (gate, org) = (&self.runtime.gate, &self.claim.scope.org_id);
        self.untried(asking).filter(|model| gate.standing(model, org).may_be_asked())
    }

    fn untried<'a>(&'a self, asking: &'a Asking) -> impl Iterator<Item = &'a ModelRef> {
        let is_other = |model: &&ModelRef| **model != self.model && !asking.tried.contains(model);
        self.models.iter().filter(is_other)
    }

    /// It takes longer prompts than the model at hand.
    fn is_wider(&self, model: &ModelRef) -> bool {
        let models = &self.runtime.parts.models;
        let takes = |model: &ModelRef| {
            let window = models.context_window(model);
            window.taught_tokens.map_or(window.usual_tokens, |most| most.min(window.usual_tokens))
        };
        takes(model) > takes(&self.model)
    }

    /// Waits for the provider's turn, where it has limits; says for how many tokens.
    async fn take_turn(&mut self, tools: &ToolSet, asking: &mut Asking) -> Result<u64, StopReason> {
        let (gate, org) = (&self.runtime.gate, &self.claim.scope.org_id);
        let Some(turnstile) = gate.turnstile(&self.model) else { return Ok(0) };
        let tokens = self.request(tools).estimated_tokens();
        let what = format!("its turn at `{}`, whose limits are reached", self.model.provider);
        self.wait_for(&what, asking, turnstile.pass(org, tokens)).await?;
        Ok(tokens)
    }

    /// Waits as long as a call may wait in all. A longer wait is told, once a call.
    async fn wait_for(
        &mut self,
        what: &str,
        asking: &mut Asking,
        wait: impl Future<Output = ()>,
    ) -> Result<(), StopReason> {
        let began = Instant::now();
        let mut wait = pin!(wait);
        let until = |most: Duration| began + most.saturating_sub(asking.waited);
        let (quiet, last) = (until(QUIET_WAIT), until(MODEL_WAIT_MAX));
        let mut waited = timeout_at(quiet, &mut wait).await;
        if waited.is_err() {
            if !std::mem::replace(&mut asking.has_told, true) {
                self.warn("model_waiting", format!("the run waits for {what}"));
            }
            self.commit().await?;
            waited = timeout_at(last, wait).await;
        }
        asking.waited += began.elapsed();
        metrics::histogram!("openintern_model_wait_seconds").record(began.elapsed().as_secs_f64());
        waited.map_err(|_elapsed| {
            let most = MODEL_WAIT_MAX.as_secs();
            let message = format!("the run has waited {most} s for {what}");
            StopReason::fail(RunErrorCode::ModelError, message)
        })
    }
}
