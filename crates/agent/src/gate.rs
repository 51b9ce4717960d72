//! The way to a model: whether it may be asked now, by what all nodes know of it and by the limits of
//! its provider. What a run does where it may not is decided in `run`.
//!
//! A model that is well, at a provider without limits, costs no statement.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use model::{
    chat::{ChatRequest, ChatResponse, ModelRef},
    error::ModelError,
    fallback::{ModelMark, mark},
    health::{ModelHealth, ModelStanding},
    models::Models,
};
use protocol::name::{AgentId, OrgId};
use store::{Store, breakers::Breaker, error::StoreError};
use tokio::sync::Notify;

use crate::{settings::AgentSettings, turnstile::Turnstile};

/// How long a model is waited for, resting or at its provider's limits, before a call fails.
pub(crate) const MODEL_WAIT_MAX: Duration = Duration::from_secs(600);

/// How soon a trial is asked for again where it was neither given nor taken by another.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What stands between runs and models, in one process.
pub(crate) struct ModelGate {
    store: Store,
    models: Models,
    /// The models that the configuration names, `<provider>/<model>`: of others nothing is kept, for
    /// a tenant may name any.
    named: BTreeSet<String>,
    /// By provider, where it has limits.
    turnstiles: BTreeMap<String, Turnstile>,
    changed: Notify,
}

impl ModelGate {
    pub(crate) fn new(
        store: &Store,
        models: &Models,
        agents: &BTreeMap<AgentId, AgentSettings>,
    ) -> Self {
        let of_agents = agents.values().map(|agent| agent.model.as_ref());
        let lists = of_agents.chain([None]).filter_map(|names| models.resolve(None, names).ok());
        let turnstile =
            |(name, limits): (&String, &_)| (name.clone(), Turnstile::new(name, *limits));
        Self {
            store: store.clone(),
            named: lists
                .flat_map(|list| list.iter().map(ModelRef::to_string).collect::<Vec<_>>())
                .collect(),
            turnstiles: models.limits().iter().map(turnstile).collect(),
            models: models.clone(),
            changed: Notify::new(),
        }
    }

    /// The turnstiles, each of which needs somebody who lets calls through.
    pub(crate) fn turnstiles(&self) -> impl Iterator<Item = &Turnstile> {
        self.turnstiles.values()
    }

    /// That of a model's provider; none where it has no limits.
    pub(crate) fn turnstile(&self, model: &ModelRef) -> Option<&Turnstile> {
        self.turnstiles.get(&model.provider)
    }

    /// Whether an organisation may ask a model, without looking further.
    pub(crate) fn standing(&self, model: &ModelRef, org: &OrgId) -> ModelStanding {
        self.models.standing(model, org)
    }

    /// Returns when something may have changed in what is known of models.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The last look before a model is asked; takes the trial where one is due. Where it may not be
    /// asked: for how long not.
    pub(crate) async fn enter(&self, model: &ModelRef, org: &OrgId) -> Result<(), Duration> {
        match self.standing(model, org) {
            ModelStanding::Well | ModelStanding::Doubtful => Ok(()),
            ModelStanding::Rests(left) | ModelStanding::OnTrial(left) => Err(left),
            ModelStanding::TrialDue => {
                let (is_ours, kept) = match self.store.try_model(&model.to_string()).await {
                    Ok(tried) => tried,
                    Err(error) => {
                        log(&error);
                        return Err(ASK_AGAIN);
                    }
                };
                self.know(model, kept);
                match self.standing(model, org) {
                    ModelStanding::Well | ModelStanding::Doubtful => Ok(()),
                    ModelStanding::Rests(_)
                    | ModelStanding::OnTrial(_)
                    | ModelStanding::TrialDue
                        if is_ours =>
                    {
                        Ok(())
                    }
                    ModelStanding::Rests(left) | ModelStanding::OnTrial(left) => Err(left),
                    ModelStanding::TrialDue => Err(ASK_AGAIN),
                }
            }
        }
    }

    /// An attempt failed: what that says of the model becomes known to all nodes.
    pub(crate) async fn failed(&self, model: &ModelRef, org: &OrgId, error: &ModelError) {
        if !self.named.contains(&model.to_string()) {
            return;
        }
        let kept = match mark(error) {
            None => return,
            Some(ModelMark::Alive) => return self.answered(model, org).await,
            Some(ModelMark::Rest(wait)) => self.store.model_rests(&model.to_string(), wait).await,
            // It is known already; this attempt was under way.
            Some(ModelMark::Failure)
                if matches!(self.standing(model, org), ModelStanding::Rests(_)) =>
            {
                return;
            }
            Some(ModelMark::Failure) => self.store.model_failed(&model.to_string(), org).await,
        };
        self.take(model, kept);
    }

    /// A model has answered: what was known against it is void.
    pub(crate) async fn answered(&self, model: &ModelRef, org: &OrgId) {
        match self.standing(model, org) {
            ModelStanding::Well | ModelStanding::Rests(_) => {}
            ModelStanding::Doubtful | ModelStanding::TrialDue | ModelStanding::OnTrial(_) => {
                let kept = self.store.model_answered(&model.to_string()).await;
                self.take(model, kept);
            }
        }
    }

    /// Hears what all nodes know.
    pub(crate) async fn hear(&self) -> Result<(), StoreError> {
        let kept = self.store.breakers().await?;
        self.models.hear_health(kept.into_iter().map(health));
        self.changed.notify_waiters();
        Ok(())
    }

    /// A whole answer for those who do not follow its words and have no other model to go to.
    pub(crate) async fn whole_answer(
        &self,
        request: ChatRequest,
        org: &OrgId,
    ) -> Option<Result<ChatResponse, ModelError>> {
        let model = request.model_ref();
        let tokens = request.estimated_tokens();
        if let Some(turnstile) = self.turnstile(&model)
            && tokio::time::timeout(MODEL_WAIT_MAX, turnstile.pass(org, tokens)).await.is_err()
        {
            return Some(Err(ModelError::Resting));
        }
        if self.enter(&model, org).await.is_err() {
            return Some(Err(ModelError::Resting));
        }
        let answer = self.models.whole_answer(request).await?;
        match &answer {
            Ok(response) => {
                self.used(&model, tokens, response);
                self.answered(&model, org).await;
            }
            Err(error) => self.failed(&model, org, error).await,
        }
        Some(answer)
    }

    /// What an answer has used beyond its turn, which was for one request with so many tokens.
    pub(crate) fn used(&self, model: &ModelRef, tokens: u64, response: &ChatResponse) {
        if let Some(turnstile) = self.turnstile(model) {
            let attempts = u64::from(response.attempts.saturating_sub(1));
            turnstile.owe(attempts, response.usage.total_tokens, tokens);
        }
    }

    fn take(&self, model: &ModelRef, kept: Result<Option<Breaker>, StoreError>) {
        match kept {
            Ok(kept) => self.know(model, kept),
            Err(error) => log(&error),
        }
    }

    fn know(&self, model: &ModelRef, kept: Option<Breaker>) {
        if let Some(Breaker { is_open: true, model, rests, only, .. }) = &kept
            && !rests.is_zero()
        {
            tracing::warn!(
                %model, rests_s = rests.as_secs(), only_org = only.as_deref(),
                "a model failed too often; it is not asked for a while"
            );
        }
        self.models.set_health(model, kept.map(health));
        self.changed.notify_waiters();
    }
}

fn health(kept: Breaker) -> ModelHealth {
    let Breaker { model, is_open, rests, on_trial, only, .. } = kept;
    ModelHealth { model, is_open, rests, on_trial, only }
}

/// A failure that is not written counts less than the run that it befell.
fn log(error: &StoreError) {
    let error = error as &dyn std::error::Error;
    tracing::debug!(error, "what is known of a model was not written or read");
}
