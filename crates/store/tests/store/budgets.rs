//! What an organisation may use in a day, whoever works for it and whatever becomes of them.

use std::time::Duration;

use futures::future::join_all;
use protocol::{message::Usage, run::CreateRun};
use store::{
    Store,
    budgets::{Amount, Reservation, Standing},
    queue::Claim,
    settings::DailyBudget,
};
use uuid::Uuid;

use crate::{claim_one, create, create_in, finish, fresh_with, ours, scope, strangers};

async fn with(tokens: Option<u64>, cost_usd: Option<f64>) -> Store {
    fresh_with(|settings| {
        settings.budget = DailyBudget { tokens, cost_usd };
        settings.limits.running_per_org = Some(100);
    })
    .await
}

async fn reserve(store: &Store, claim: &Claim, tokens: u64, cost_usd: f64) -> Reservation {
    let most = Amount { tokens, cost_usd };
    store.scoped(&claim.scope).reserve_usage(claim.run_id, claim.epoch, most).await.unwrap()
}

async fn settle(store: &Store, claim: &Claim, input: u64, output: u64, cost_usd: f64) {
    let usage = Usage::new(input, output, 0);
    let scoped = store.scoped(&claim.scope);
    scoped.settle_usage(claim.run_id, claim.epoch, usage, cost_usd).await.unwrap();
}

fn over_tokens(used: u64, reserved: u64) -> Reservation {
    let amount = |tokens| Amount { tokens, cost_usd: 0.0 };
    Reservation::OverTokens(Standing { used: amount(used), reserved: amount(reserved) })
}

async fn claimed(store: &Store, runs: usize) -> Vec<Claim> {
    for run in 0..runs {
        create_in(store, &ours(), &format!("s_{run}")).await;
    }
    let runs = u32::try_from(runs).unwrap();
    store.claim(Uuid::now_v7(), runs, Duration::from_secs(60)).await.unwrap()
}

#[tokio::test]
async fn what_is_set_aside_and_what_is_used_share_the_day() {
    let store = with(Some(100), None).await;
    let claims = claimed(&store, 3).await;
    let [a, b, c] = &claims[..] else { panic!("{claims:?}") };
    assert_eq!(reserve(&store, a, 60, 0.0).await, Reservation::Made);
    assert_eq!(reserve(&store, b, 41, 0.0).await, over_tokens(0, 60));
    assert_eq!(reserve(&store, b, 40, 0.0).await, Reservation::Made);
    assert_eq!(reserve(&store, c, 1, 0.0).await, over_tokens(0, 100));
    settle(&store, a, 20, 10, 0.0).await;
    settle(&store, a, 20, 10, 0.0).await; // It may have been lost on the way: said again.
    assert_eq!(reserve(&store, c, 31, 0.0).await, over_tokens(30, 40));
    assert_eq!(reserve(&store, c, 30, 0.0).await, Reservation::Made);
    // A second call of one run takes the place of its first.
    assert_eq!(reserve(&store, c, 30, 0.0).await, Reservation::Made);
    settle(&store, b, 0, 0, 0.0).await; // It was not answered.
    assert_eq!(reserve(&store, a, 40, 0.0).await, Reservation::Made);
}

#[tokio::test]
async fn money_is_counted_without_drift() {
    let store = with(None, Some(1.0)).await;
    let claim = claimed(&store, 1).await.remove(0);
    for _ in 0..10 {
        assert_eq!(reserve(&store, &claim, 1, 0.1).await, Reservation::Made);
        settle(&store, &claim, 1, 0, 0.1).await;
    }
    let used = Amount { tokens: 10, cost_usd: 1.0 };
    let full = Reservation::OverCost(Standing { used, reserved: Amount::default() });
    assert_eq!(reserve(&store, &claim, 1, 1e-9).await, full);
}

#[tokio::test]
async fn many_at_once_never_exceed_it() {
    let store = with(Some(700), None).await;
    let claims = claimed(&store, 40).await;
    assert_eq!(claims.len(), 40);
    let made = join_all(claims.iter().map(|claim| reserve(&store, claim, 100, 0.0))).await;
    assert_eq!(made.iter().filter(|made| **made == Reservation::Made).count(), 7);
}

#[tokio::test]
async fn what_a_lost_worker_had_set_aside_is_free_once_its_run_goes_on() {
    let store = with(Some(100), None).await;
    create(&store).await;
    let lost = store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap().remove(0);
    assert_eq!(reserve(&store, &lost, 100, 0.0).await, Reservation::Made);
    let rescued = claim_one(&store).await;
    assert_eq!((rescued.run_id, rescued.rescued), (lost.run_id, true));
    create_in(&store, &ours(), "s_other").await;
    let other = claim_one(&store).await;
    assert_eq!(reserve(&store, &other, 60, 0.0).await, Reservation::Made);
    // The lost worker may wake up: it reserves nothing more, and takes nothing away.
    assert_eq!(reserve(&store, &lost, 1, 0.0).await, Reservation::LeaseLost);
    settle(&store, &lost, 90, 0, 0.0).await;
    assert_eq!(reserve(&store, &rescued, 41, 0.0).await, over_tokens(0, 60));
    assert_eq!(reserve(&store, &rescued, 40, 0.0).await, Reservation::Made);
}

#[tokio::test]
async fn what_a_run_had_set_aside_is_free_when_it_ends_or_is_handed_back() {
    let store = with(Some(100), None).await;
    let claims = claimed(&store, 3).await;
    let [a, b, c] = &claims[..] else { panic!("{claims:?}") };
    assert_eq!(reserve(&store, a, 50, 0.0).await, Reservation::Made);
    assert_eq!(reserve(&store, b, 50, 0.0).await, Reservation::Made);
    assert_eq!(reserve(&store, c, 50, 0.0).await, over_tokens(0, 100));
    finish(&store, a).await;
    assert_eq!(reserve(&store, c, 50, 0.0).await, Reservation::Made);
    store.release(&[b.lease()]).await.unwrap();
    assert_eq!(reserve(&store, c, 100, 0.0).await, Reservation::Made);
}

#[tokio::test]
async fn an_organisation_has_one_budget_and_no_other_touches_it() {
    let store = with(Some(100), None).await;
    let claim = claimed(&store, 1).await.remove(0);
    assert_eq!(reserve(&store, &claim, 100, 0.0).await, Reservation::Made);
    let most = Amount { tokens: 1, cost_usd: 0.0 };
    for stranger in strangers() {
        let scoped = store.scoped(&stranger);
        scoped.settle_usage(claim.run_id, 99, Usage::new(1, 1, 0), 0.0).await.unwrap();
        if stranger.org_id != ours().org_id {
            let made = scoped.reserve_usage(claim.run_id, claim.epoch, most).await.unwrap();
            assert_eq!(made, Reservation::LeaseLost, "it has no such run");
        }
    }
    for (org, user, made) in [
        ("org_a", "user_b", over_tokens(0, 100)), // Another user of the same organisation.
        ("org_b", "user_a", Reservation::Made),
    ] {
        let scope = scope(org, user, None);
        store.scoped(&scope).create_run(&CreateRun::new("x"), None).await.unwrap();
        let theirs = claim_one(&store).await;
        assert_eq!(theirs.scope, scope);
        assert_eq!(reserve(&store, &theirs, 100, 0.0).await, made);
    }
}
