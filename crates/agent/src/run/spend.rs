//! Reserves what a model call may use in the organisation's daily budget before the call, and settles
//! it with the actual usage after the call. Does nothing where no budget is set.

use model::chat::{ChatRequest, ChatResponse};
use protocol::run::RunErrorCode;
use store::budgets::{Amount, Reservation, Standing};

use crate::budget::bound;

use super::{
    active::ActiveRun,
    stop::{AbandonReason, StopReason},
};

impl ActiveRun<'_> {
    /// Makes sure that the call cannot use more than is left, and reserves that much; the answer is
    /// limited to it. Fails before a call that would exceed a budget.
    pub(super) async fn reserve(&mut self, request: &mut ChatRequest) -> Result<(), StopReason> {
        let daily = self.runtime.parts.store.daily_budget();
        if self.limits.max_cost_usd.is_some() || daily.cost_usd.is_some() {
            self.warn_of_price();
        }
        let limits = &self.limits;
        if limits.max_tokens.is_none() && limits.max_cost_usd.is_none() && !daily.is_set() {
            return Ok(());
        }
        let spent =
            Amount { tokens: self.totals.usage.total_tokens, cost_usd: self.totals.cost_usd };
        let most = bound(&self.runtime.parts.models, &self.models, limits, spent, request)
            .map_err(StopReason::Fail)?;
        if !daily.is_set() {
            return Ok(());
        }
        let scoped = self.runtime.parts.store.scoped(&self.claim.scope);
        match scoped.reserve_usage(self.claim.run_id, self.claim.epoch, most).await? {
            Reservation::Made => Ok(()),
            Reservation::LeaseLost => Err(StopReason::Abandon(AbandonReason::LeaseLost)),
            Reservation::OverTokens(Standing { used, reserved }) => Err(StopReason::fail(
                RunErrorCode::TokenLimit,
                format!(
                    "the organisation's daily budget `tokens_per_org_per_day` = {} would be \
                     exceeded: {} are used today, {} set aside for other calls, and this one may \
                     need {}",
                    daily.tokens.unwrap_or_default(),
                    used.tokens,
                    reserved.tokens,
                    most.tokens
                ),
            )),
            Reservation::OverCost(Standing { used, reserved }) => Err(StopReason::fail(
                RunErrorCode::CostLimit,
                format!(
                    "the organisation's daily budget `cost_usd_per_org_per_day` = {} would be \
                     exceeded: {:.6} are used today, {:.6} set aside for other calls, and this one \
                     may need {:.6}",
                    daily.cost_usd.unwrap_or_default(),
                    used.cost_usd,
                    reserved.cost_usd,
                    most.cost_usd
                ),
            )),
        }
    }

    /// Warns, once in a run, that a bound on money cannot hold: nobody knows what the model costs.
    fn warn_of_price(&mut self) {
        let models = &self.runtime.parts.models;
        let Some(model) = self.models.iter().find(|model| models.price(model).is_none()) else {
            return;
        };
        if std::mem::replace(&mut self.state.price_unknown, true) {
            return;
        }
        let message = format!(
            "a bound on money is set, and `{model}` has no price: it counts as free. Set \
             `[model.prices.\"{model}\"]`"
        );
        self.warn("price_unknown", message);
    }

    /// Settles the reservation with what the call used, failed attempts that were counted included.
    pub(super) async fn settle_usage(
        &self,
        answer: Option<&ChatResponse>,
    ) -> Result<(), StopReason> {
        if !self.runtime.parts.store.daily_budget().is_set() {
            return Ok(());
        }
        let (mut used, mut cost_usd) =
            answer.map(|response| (response.usage, response.cost_usd)).unwrap_or_default();
        used += self.failed_attempts.0;
        cost_usd += self.failed_attempts.1;
        let scoped = self.runtime.parts.store.scoped(&self.claim.scope);
        Ok(scoped.settle_usage(self.claim.run_id, self.claim.epoch, used, cost_usd).await?)
    }
}
