//! Which models failed lately, as this process knows it: a view of what all nodes have written, so that
//! asking a model that is well costs nothing. Where it is kept is not known here.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use protocol::name::OrgId;
use tokio::time::Instant;

use crate::chat::ModelRef;

/// A model that failed lately or asked for a pause, as it is kept for all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelHealth {
    /// `<provider>/<model>`
    pub model: String,
    /// Its breaker is open: behind its rest it is asked by one on trial, and by others once that has
    /// had an answer.
    pub is_open: bool,
    /// It is not to be asked for so long.
    pub rests: Duration,
    /// Somebody asks it on trial, for so long at most.
    pub on_trial: Duration,
    /// All of that is so for this organisation; none where it is so for all.
    pub only: Option<String>,
}

/// Whether a model may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelStanding {
    /// Nothing is known against it.
    Well,
    /// It may be asked, and has failed lately: an answer is news.
    Doubtful,
    /// By one, on trial.
    TrialDue,
    /// Not for so long at most: somebody asks it on trial.
    OnTrial(Duration),
    /// Not for so long.
    Rests(Duration),
}

impl ModelStanding {
    /// Nobody is to ask it for so long; none where somebody may.
    pub fn rests(self) -> Option<Duration> {
        match self {
            Self::Rests(left) | Self::OnTrial(left) => Some(left),
            Self::Well | Self::Doubtful | Self::TrialDue => None,
        }
    }

    /// Somebody may ask it.
    pub fn may_be_asked(self) -> bool {
        self.rests().is_none()
    }
}

#[derive(Default)]
pub(crate) struct HealthView(Mutex<BTreeMap<String, Known>>);

struct Known {
    is_open: bool,
    rests_until: Instant,
    on_trial_until: Instant,
    only: Option<String>,
}

impl HealthView {
    pub(crate) fn standing(&self, model: &ModelRef, org: &OrgId) -> ModelStanding {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return ModelStanding::Well;
        }
        let Some(known) = known.get(&model.to_string()) else { return ModelStanding::Well };
        if known.only.as_deref().is_some_and(|only| only != org.as_str()) {
            return ModelStanding::Well;
        }
        let now = Instant::now();
        let rests = known.rests_until.saturating_duration_since(now);
        let on_trial = known.on_trial_until.saturating_duration_since(now);
        match (known.is_open, rests.is_zero(), on_trial.is_zero()) {
            (_, false, _) => ModelStanding::Rests(rests),
            (true, true, false) => ModelStanding::OnTrial(on_trial),
            (true, true, true) => ModelStanding::TrialDue,
            (false, true, _) => ModelStanding::Doubtful,
        }
    }

    /// Its breaker is open, for whomever, and another attempt would be made behind the one that opened it.
    pub(crate) fn is_open(&self, model: &ModelRef) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = (!known.is_empty()).then(|| known.get(&model.to_string())).flatten();
        known.is_some_and(|known| known.is_open && known.rests_until > Instant::now())
    }

    /// Everything that is kept.
    pub(crate) fn replace(&self, all: impl IntoIterator<Item = ModelHealth>) {
        let all = all.into_iter().map(Known::of).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// What is kept of one model now; none where it is well.
    pub(crate) fn set(&self, model: &ModelRef, kept: Option<ModelHealth>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept {
            Some(kept) => known.extend([Known::of(kept)]),
            None => drop(known.remove(&model.to_string())),
        }
    }
}

impl Known {
    fn of(kept: ModelHealth) -> (String, Self) {
        let now = Instant::now();
        let known = Self {
            is_open: kept.is_open,
            rests_until: now + kept.rests,
            on_trial_until: now + kept.on_trial,
            only: kept.only,
        };
        (kept.model, known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_model_rests_and_is_then_asked_on_trial_if_its_breaker_is_open() {
        let health = HealthView::default();
        let model = ModelRef { provider: "p".into(), model: "m".into() };
        let second = Duration::from_secs(1);
        let kept = |is_open, rests, on_trial| ModelHealth {
            model: "p/m".into(),
            is_open,
            rests: second * rests,
            on_trial: second * on_trial,
            only: None,
        };
        let org = OrgId::new("a").unwrap();
        assert_eq!(health.standing(&model, &org), ModelStanding::Well);
        for (known, at_once, later) in [
            (kept(false, 0, 0), ModelStanding::Doubtful, ModelStanding::Doubtful),
            (kept(false, 3, 0), ModelStanding::Rests(second * 3), ModelStanding::Doubtful),
            (kept(true, 3, 0), ModelStanding::Rests(second * 3), ModelStanding::TrialDue),
            (kept(true, 0, 3), ModelStanding::OnTrial(second * 3), ModelStanding::TrialDue),
        ] {
            let is_cut_short = known.is_open && known.on_trial.is_zero();
            health.replace([known]);
            assert_eq!(health.standing(&model, &org), at_once);
            assert_eq!(health.is_open(&model), is_cut_short);
            tokio::time::advance(second * 3).await;
            assert_eq!(health.standing(&model, &org), later);
        }
        health.replace([ModelHealth { only: Some("a".into()), ..kept(true, 3, 0) }]);
        assert_eq!(health.standing(&model, &org), ModelStanding::Rests(second * 3));
        assert_eq!(health.standing(&model, &OrgId::new("b").unwrap()), ModelStanding::Well);
        health.set(&model, None);
        assert_eq!(health.standing(&model, &org), ModelStanding::Well);
    }
}
