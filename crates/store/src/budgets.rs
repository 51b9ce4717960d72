//! The daily budget of an organisation (UTC, by the database's clock): reserved before a model is
//! asked, settled afterwards. The caller knows how much a call may use.

use protocol::{id::RunId, message::Usage};
use serde::Deserialize;
use sqlx::{Row, postgres::PgRow};

use crate::{
    error::StoreError,
    handle::Store,
    rows::{get_u64, get_word, to_i64},
    scoped::Scoped,
    settings::DailyBudget,
};

/// An amount of what budgets bound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Amount {
    /// Tokens, of prompts and answers together.
    pub tokens: u64,
    pub cost_usd: f64,
}

/// The outcome of a reservation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reservation {
    /// It holds until it is settled, the run ends, or another worker takes the run over.
    Made,
    /// The day's tokens have no room for it.
    OverTokens(Standing),
    /// The day's money has no room for it.
    OverCost(Standing),
    /// The claim is not the run's newest any more.
    LeaseLost,
}

/// How much of a day's budget is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Used by calls that have answered.
    pub used: Amount,
    /// Reserved for calls that have not.
    pub reserved: Amount,
}

/// What a model call is for, and the claim that it stands on.
#[derive(Clone, Copy)]
enum Purpose {
    Run { epoch: u64 },
    Remember { tries: u32 },
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Remember { .. } => "remember",
        }
    }

    fn claim(self) -> i64 {
        match self {
            Self::Run { epoch } => to_i64(epoch),
            Self::Remember { tries } => i64::from(tries),
        }
    }
}

/// The row that `reserve_usage` returns.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reserved {
    Made,
    OverTokens,
    OverCost,
    LeaseLost,
}

impl Store {
    /// What each organisation may use in a day.
    pub fn daily_budget(&self) -> DailyBudget {
        self.budget
    }
}

impl Scoped {
    /// Reserves what the next model call of a claimed run may use at most. An earlier reservation of
    /// the claim is released.
    pub async fn reserve_usage(
        &self,
        run_id: RunId,
        epoch: u64,
        most: Amount,
    ) -> Result<Reservation, StoreError> {
        self.reserve(run_id, Purpose::Run { epoch }, most).await
    }

    /// The same for a model call that remembers a run which has ended: it holds as long as the worker
    /// that took the run to remember it, at that try, holds it.
    pub async fn reserve_usage_after(
        &self,
        run_id: RunId,
        tries: u32,
        most: Amount,
    ) -> Result<Reservation, StoreError> {
        self.reserve(run_id, Purpose::Remember { tries }, most).await
    }

    async fn reserve(
        &self,
        run_id: RunId,
        purpose: Purpose,
        most: Amount,
    ) -> Result<Reservation, StoreError> {
        let budget = self.store().budget;
        let query = sqlx::query(
            "select outcome, used_tokens, used_cost_usd, reserved_tokens, reserved_cost_usd
             from reserve_usage(
                 p_org => $1, p_user => $2, p_project => $3, p_run => $4, p_purpose => $5,
                 p_claim => $6, p_tokens => $7, p_cost_usd => $8, p_tokens_max => $9,
                 p_cost_usd_max => $10)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(purpose.word())
        .bind(purpose.claim())
        .bind(to_i64(most.tokens))
        .bind(most.cost_usd)
        .bind(budget.tokens.map(to_i64))
        .bind(budget.cost_usd);
        let row = self.store().database.call_one_for(self.org(), query).await?;
        Ok(match get_word(&row, "outcome")? {
            Reserved::Made => Reservation::Made,
            Reserved::OverTokens => Reservation::OverTokens(day_use(&row)?),
            Reserved::OverCost => Reservation::OverCost(day_use(&row)?),
            Reserved::LeaseLost => Reservation::LeaseLost,
        })
    }

    /// Adds what the call has used, and releases the rest of its reservation. Does nothing where this
    /// claim has no reservation.
    pub async fn settle_usage(
        &self,
        run_id: RunId,
        epoch: u64,
        used: Usage,
        cost_usd: f64,
    ) -> Result<(), StoreError> {
        self.settle(run_id, Purpose::Run { epoch }, used, cost_usd).await
    }

    /// The same for [`Self::reserve_usage_after`].
    pub async fn settle_usage_after(
        &self,
        run_id: RunId,
        tries: u32,
        used: Usage,
        cost_usd: f64,
    ) -> Result<(), StoreError> {
        self.settle(run_id, Purpose::Remember { tries }, used, cost_usd).await
    }

    async fn settle(
        &self,
        run_id: RunId,
        purpose: Purpose,
        used: Usage,
        cost_usd: f64,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "select settle_usage(
                 p_org => $1, p_user => $2, p_project => $3, p_run => $4, p_purpose => $5,
                 p_claim => $6, p_input_tokens => $7, p_output_tokens => $8, p_cost_usd => $9)",
        )
        .bind(self.org())
        .bind(self.user())
        .bind(self.project())
        .bind(run_id.uuid())
        .bind(purpose.word())
        .bind(purpose.claim())
        .bind(to_i64(used.input_tokens))
        .bind(to_i64(used.output_tokens))
        .bind(cost_usd);
        self.call(query).await?;
        Ok(())
    }
}

fn day_use(row: &PgRow) -> Result<Standing, StoreError> {
    Ok(Standing {
        used: Amount {
            tokens: get_u64(row, "used_tokens")?,
            cost_usd: row.try_get("used_cost_usd")?,
        },
        reserved: Amount {
            tokens: get_u64(row, "reserved_tokens")?,
            cost_usd: row.try_get("reserved_cost_usd")?,
        },
    })
}
