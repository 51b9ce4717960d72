//! Turns at a provider whose limits all nodes share: how many of the calls that wait here may be made
//! now, organisations in turn. Who waits, and for which answer, is not known here.

use std::time::Duration;

use protocol::name::OrgId;
use sqlx::Row;

use crate::{error::StoreError, handle::Store, rows::to_i64};

/// What all nodes together may ask of a provider in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    pub requests_per_minute: Option<u64>,
    /// Of prompts and answers together.
    pub tokens_per_minute: Option<u64>,
}

/// What calls have used beyond what they took a turn for: later turns wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpaid {
    pub requests: u64,
    /// Less than none where a call has used fewer than was thought.
    pub tokens: i64,
}

/// The calls that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    /// Their places among those that were asked for, from 0.
    pub granted: Vec<usize>,
    /// When it is worth asking again for the others.
    pub ask_again: Duration,
}

impl Store {
    /// Takes turns for as many of these calls as may be made now, each with the tokens of its prompt.
    /// The calls of one organisation are served in their order.
    pub async fn take_turns(
        &self,
        provider: &str,
        limits: TurnLimits,
        calls: &[(OrgId, u64)],
        unpaid: Unpaid,
    ) -> Result<Turns, StoreError> {
        let (orgs, tokens): (Vec<&str>, Vec<i64>) =
            calls.iter().map(|(org, tokens)| (org.as_str(), to_i64(*tokens))).unzip();
        let query = sqlx::query(
            "select granted, ask_again_s
             from take_turns(
                 p_provider => $1, p_requests_per_minute => $2, p_tokens_per_minute => $3,
                 p_orgs => $4, p_tokens => $5, p_unpaid_requests => $6, p_unpaid_tokens => $7)",
        )
        .bind(provider)
        .bind(limits.requests_per_minute.map(to_i64))
        .bind(limits.tokens_per_minute.map(to_i64))
        .bind(orgs)
        .bind(tokens)
        .bind(to_i64(unpaid.requests))
        .bind(unpaid.tokens);
        let row = self.database.call_one(query).await?;
        let granted: Vec<i64> = row.try_get("granted")?;
        let place = |place: i64| usize::try_from(place - 1).ok();
        Ok(Turns {
            granted: granted.into_iter().filter_map(place).collect(),
            ask_again: Duration::try_from_secs_f64(row.try_get("ask_again_s")?).unwrap_or_default(),
        })
    }
}
