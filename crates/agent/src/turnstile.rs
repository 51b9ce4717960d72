//! The calls of one process that wait for their turn at a provider with limits: by organisation, each in
//! its order. Who is next among all nodes is decided in the database, for many calls in one statement.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::settings::ProviderLimits;
use protocol::name::OrgId;
use store::{
    Store,
    provider_turns::{TurnLimits, Turns, Unpaid},
};
use tokio::sync::{Notify, oneshot};

/// Most calls of one statement.
const TURNS_AT_ONCE: usize = 256;
/// How soon the database is asked again for calls that wait, at the soonest and at the latest.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// Where calls to one provider wait.
pub(crate) struct Turnstile {
    provider: String,
    limits: TurnLimits,
    state: Mutex<Waiting>,
    came: Notify,
}

#[derive(Default)]
struct Waiting {
    /// None of them is empty; the one that was served longest ago is first.
    orgs: VecDeque<(OrgId, VecDeque<Call>)>,
    unpaid: Unpaid,
}

struct Call {
    tokens: u64,
    granted: oneshot::Sender<()>,
}

impl Turnstile {
    pub(crate) fn new(provider: &str, limits: ProviderLimits) -> Self {
        let ProviderLimits { requests_per_minute, tokens_per_minute } = limits;
        Self {
            provider: provider.to_owned(),
            limits: TurnLimits { requests_per_minute, tokens_per_minute },
            state: Mutex::default(),
            came: Notify::new(),
        }
    }

    /// Waits for a call's turn. Whoever stops waiting gives it up.
    pub(crate) async fn pass(&self, org: &OrgId, tokens: u64) {
        let (granted, turn) = oneshot::channel();
        self.state().push(org, Call { tokens, granted });
        self.came.notify_one();
        if turn.await.is_err() {
            std::future::pending().await // The process ends, and the run with it.
        }
    }

    /// A call has used so many tokens instead of those that it took a turn for, in more requests.
    pub(crate) fn owe(&self, requests: u64, used_tokens: u64, tokens: u64) {
        let signed = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let unpaid = &mut self.state().unpaid;
        unpaid.requests += requests;
        unpaid.tokens = unpaid.tokens.saturating_add(signed(used_tokens) - signed(tokens));
    }

    /// Lets calls through as the limits allow, for ever.
    pub(crate) async fn serve(&self, store: &Store) {
        loop {
            let Some((calls, unpaid)) = self.next_calls() else {
                self.came.notified().await;
                continue;
            };
            let turns = store.take_turns(&self.provider, self.limits, &calls, unpaid).await;
            let ask_again = match turns {
                Ok(Turns { granted, ask_again }) => {
                    let orgs = granted.iter().filter_map(|place| calls.get(*place));
                    orgs.for_each(|(org, _)| self.state().grant(org));
                    ask_again
                }
                Err(error) => {
                    self.owe_again(unpaid);
                    tracing::debug!(error = %error, provider = %self.provider, "turns at a provider could not be taken");
                    ASK_AGAIN.1
                }
            };
            tokio::time::sleep(ask_again.clamp(ASK_AGAIN.0, ASK_AGAIN.1)).await;
        }
    }

    /// Some calls of each organisation that waits, and what is owed; none where no call waits.
    fn next_calls(&self) -> Option<(Vec<(OrgId, u64)>, Unpaid)> {
        let mut state = self.state();
        state.forget_gone();
        if state.orgs.is_empty() {
            return None;
        }
        Some((state.in_turn(), std::mem::take(&mut state.unpaid)))
    }

    fn owe_again(&self, unpaid: Unpaid) {
        let owed = &mut self.state().unpaid;
        owed.requests += unpaid.requests;
        owed.tokens = owed.tokens.saturating_add(unpaid.tokens);
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, org: &OrgId, call: Call) {
        match self.orgs.iter_mut().find(|(name, _)| name == org) {
            Some((_, calls)) => calls.push_back(call),
            None => self.orgs.push_back((org.clone(), VecDeque::from([call]))),
        }
    }

    fn forget_gone(&mut self) {
        for (_, calls) in &mut self.orgs {
            calls.retain(|call| !call.granted.is_closed());
        }
        self.orgs.retain(|(_, calls)| !calls.is_empty());
    }

    /// The first call of each organisation, then the second of each, and so on.
    fn in_turn(&self) -> Vec<(OrgId, u64)> {
        let mut left: VecDeque<_> =
            self.orgs.iter().map(|(org, calls)| (org, calls.iter())).collect();
        let mut chosen = Vec::new();
        while chosen.len() < TURNS_AT_ONCE
            && let Some((org, mut calls)) = left.pop_front()
        {
            if let Some(call) = calls.next() {
                chosen.push((org.clone(), call.tokens));
                left.push_back((org, calls));
            }
        }
        chosen
    }

    /// The organisation's first call has its turn; the organisation goes behind the others.
    fn grant(&mut self, org: &OrgId) {
        let Some(place) = self.orgs.iter().position(|(name, _)| name == org) else { return };
        let Some((org, mut calls)) = self.orgs.remove(place) else { return };
        if let Some(call) = calls.pop_front() {
            call.granted.send(()).ok(); // Nobody waits for it any more: the turn is lost.
        }
        if !calls.is_empty() {
            self.orgs.push_back((org, calls));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisations_are_asked_for_in_turn_and_calls_that_are_given_up_are_not() {
        let mut waiting = Waiting::default();
        let (a, b) = (OrgId::new("a").unwrap(), OrgId::new("b").unwrap());
        let mut calls = Vec::new();
        for (org, tokens) in [(&a, 1), (&a, 2), (&a, 3), (&b, 4)] {
            let (granted, turn) = oneshot::channel();
            waiting.push(org, Call { tokens, granted });
            calls.push(turn);
        }
        let tokens = |waiting: &Waiting| -> Vec<u64> {
            waiting.in_turn().iter().map(|(_, tokens)| *tokens).collect()
        };
        assert_eq!(tokens(&waiting), [1, 4, 2, 3]);
        waiting.grant(&a);
        assert_eq!(tokens(&waiting), [4, 2, 3]);
        assert!(calls.remove(0).try_recv().is_ok(), "the first one has its turn");
        calls.remove(0).close();
        waiting.forget_gone();
        assert_eq!(tokens(&waiting), [4, 3]);
        waiting.grant(&b);
        assert_eq!(tokens(&waiting), [3]);
    }
}
