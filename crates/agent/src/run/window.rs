//! How large a prompt may be: what is configured or known of the model, what its provider has refused,
//! and by how much its count differs from our estimate.

use model::chat::ChatRequest;

use crate::context::share;

use super::active::{ActiveRun, SeenOfModel};

/// By how much a provider may count more or less than is estimated.
const COUNTED_PER_ESTIMATED: (f64, f64) = (0.5, 4.0);
/// Of a prompt that was refused without a figure, the share that is tried next.
const AFTER_REFUSAL_SHARE: f64 = 0.7;
/// Of a window, the share that a bound on the answer may keep free.
const ANSWER_SHARE: f64 = 0.5;
/// Fewest tokens that an answer is bounded to because of the window.
const ANSWER_MIN_TOKENS: u64 = 256;

impl ActiveRun<'_> {
    /// Tokens that a prompt of the run may have, as the provider counts.
    pub(super) fn context_tokens(&self) -> u64 {
        let window = self.runtime.parts.models.context_window(&self.model);
        let wanted = self.agent.context_tokens.unwrap_or(window.usual_tokens);
        let refused = [window.taught_tokens, self.seen().most_tokens];
        refused.into_iter().flatten().fold(wanted, u64::min)
    }

    /// Of these, what is kept free for an answer whose length is bounded.
    pub(super) fn answer_tokens(&self) -> u64 {
        let most = u64::from(self.max_tokens().unwrap_or(0));
        most.min(share(self.context_tokens(), ANSWER_SHARE))
    }

    /// Most tokens of an answer: as asked.
    pub(super) fn max_tokens(&self) -> Option<u32> {
        let asked = self.claim.llm_config.as_ref();
        asked.and_then(|llm| llm.max_tokens).or(self.agent.max_tokens)
    }

    /// Most tokens of the answer to a request: as it says, or what its provider, which counts them with
    /// the prompt, leaves of its window.
    pub(super) fn fitting_answer(&self, request: &ChatRequest) -> Option<u32> {
        let window = self.runtime.parts.models.context_window(&self.model).taught_tokens;
        let (Some(most), Some(window)) = (request.max_tokens, window) else {
            return request.max_tokens;
        };
        let prompt = self.counted(request.estimated_tokens());
        let left = window.saturating_sub(prompt).max(ANSWER_MIN_TOKENS);
        Some(most.min(u32::try_from(left).unwrap_or(most)))
    }

    /// The provider has counted the tokens of a prompt: estimates of the next are corrected by it.
    pub(super) fn learn_count(&mut self, estimated_tokens: u64, counted_tokens: u64) {
        let estimated = estimated_tokens.max(1);
        let (least, most) = COUNTED_PER_ESTIMATED;
        let counted = (counted_tokens as f64 / estimated as f64).clamp(least, most);
        self.see().counted_per_estimated = counted;
    }

    /// The provider has refused a prompt as too long: either it counts more than is estimated, or its
    /// window is smaller than is known.
    pub(super) fn learn_refusal(&mut self, request: &ChatRequest) {
        let estimated = request.estimated_tokens().max(1);
        match self.runtime.parts.models.context_window(&self.model).taught_tokens {
            Some(window) => {
                let counted = window.saturating_sub(u64::from(request.max_tokens.unwrap_or(0)));
                let at_least = counted as f64 / estimated as f64;
                let counted = at_least.max(self.counted_per_estimated());
                self.see().counted_per_estimated = counted.min(COUNTED_PER_ESTIMATED.1);
            }
            None => {
                let sent = self.counted(estimated).min(self.context_tokens());
                self.see().most_tokens = Some(share(sent, AFTER_REFUSAL_SHARE));
            }
        }
    }

    /// So many estimated tokens, as the provider counts.
    pub(super) fn counted(&self, estimated_tokens: u64) -> u64 {
        share(estimated_tokens, self.counted_per_estimated())
    }

    pub(super) fn counted_per_estimated(&self) -> f64 {
        let known = self.seen().counted_per_estimated;
        if known > 0.0 { known } else { 1.0 }
    }

    fn seen(&self) -> SeenOfModel {
        self.state.seen.get(&self.model.to_string()).copied().unwrap_or_default()
    }

    fn see(&mut self) -> &mut SeenOfModel {
        self.state.seen.entry(self.model.to_string()).or_default()
    }
}
