//! Runs that kill their workers: who is blamed for a death, and who works beside such a run.

use std::time::Duration;

use protocol::id::RunId;
use sqlx::{Connection, PgConnection};
use store::queue::{Claim, SUSPECT_ATTEMPTS, Verdict};
use uuid::Uuid;

use crate::{claim_one, create_in, finish, fresh, fresh_with_database, ours};

const LEASE: Duration = Duration::from_secs(10);
/// Of a worker that dies at once.
const NO_LEASE: Duration = Duration::ZERO;
/// More than there are runs.
const MOST: u32 = 64;

fn ids(claims: &[Claim]) -> Vec<RunId> {
    claims.iter().map(|claim| claim.run_id).collect()
}

/// A run that has been lost so often that the next claim suspects it.
async fn suspect(store: &store::Store, session: &str) -> RunId {
    let run_id = create_in(store, &ours(), session).await;
    for _ in 0..SUSPECT_ATTEMPTS {
        assert_eq!(ids(&store.claim(Uuid::now_v7(), MOST, NO_LEASE).await.unwrap()), [run_id]);
    }
    run_id
}

#[tokio::test]
async fn a_run_that_kills_its_workers_ends_after_five_and_its_neighbours_lose_nothing() {
    let store = fresh().await;
    let killer = create_in(&store, &ours(), "s_killer").await;
    for n in 0..3 {
        create_in(&store, &ours(), &format!("s_{n}")).await;
    }
    let (mut deaths, mut finished) = (0, 0);
    let last = loop {
        let claims = store.claim(Uuid::now_v7(), MOST, NO_LEASE).await.unwrap();
        let Some(its) = claims.iter().find(|claim| claim.run_id == killer) else {
            // Without the killer beside them all others do their work.
            for claim in &claims {
                assert!(claim.attempts <= SUSPECT_ATTEMPTS, "{claim:?}");
                finish(&store, claim).await;
                finished += 1;
            }
            continue;
        };
        if its.verdict == Verdict::GiveUp {
            break its.clone();
        }
        deaths += 1;
    };
    assert_eq!((deaths, last.attempts), (5, 5));
    finish(&store, &last).await;
    while finished < 3 {
        for claim in store.claim(Uuid::now_v7(), MOST, NO_LEASE).await.unwrap() {
            assert!(matches!(claim.verdict, Verdict::ExecuteAlone), "{claim:?}");
            finish(&store, &claim).await;
            finished += 1;
        }
    }
}

#[tokio::test]
async fn a_suspect_comes_alone_and_to_a_worker_that_holds_nothing() {
    let store = fresh().await;
    let (busy, idle) = (Uuid::from_u128(2), Uuid::from_u128(3));
    let held = create_in(&store, &ours(), "s_held").await;
    assert_eq!(ids(&store.claim(Uuid::from_u128(1), 1, LEASE).await.unwrap()), [held]);
    let other = create_in(&store, &ours(), "s_other").await;
    assert_eq!(ids(&store.claim(busy, 1, LEASE).await.unwrap()), [other]);
    let suspect = suspect(&store, "s_suspect").await;
    let waiting = create_in(&store, &ours(), "s_waiting").await;

    let claims = store.claim(busy, MOST, LEASE).await.unwrap();
    assert_eq!(ids(&claims), [waiting], "a busy worker leaves it, and takes what else there is");
    create_in(&store, &ours(), "s_more").await;
    let claims = store.claim(idle, MOST, LEASE).await.unwrap();
    assert_eq!(ids(&claims), [suspect], "an idle one takes it and nothing else");
    assert_eq!(claims[0].verdict, Verdict::ExecuteAlone);
}

#[tokio::test]
async fn while_a_suspect_waits_one_busy_worker_takes_nothing_so_that_it_comes_to_hold_nothing() {
    let store = fresh().await;
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    create_in(&store, &ours(), "s_1").await;
    let last_in_hand = store.claim(first, 1, LEASE).await.unwrap().remove(0);
    create_in(&store, &ours(), "s_2").await;
    store.claim(second, 1, LEASE).await.unwrap();
    let suspect = suspect(&store, "s_suspect").await;
    let waiting = create_in(&store, &ours(), "s_3").await;
    assert_eq!(ids(&store.claim(first, MOST, LEASE).await.unwrap()), []);
    assert_eq!(ids(&store.claim(second, MOST, LEASE).await.unwrap()), [waiting]);
    finish(&store, &last_in_hand).await;
    assert_eq!(ids(&store.claim(first, MOST, LEASE).await.unwrap()), [suspect]);
}

#[tokio::test]
async fn a_suspect_that_is_to_be_cancelled_is_for_any_worker() {
    let store = fresh().await;
    create_in(&store, &ours(), "s_1").await;
    let busy = Uuid::from_u128(1);
    store.claim(busy, 1, LEASE).await.unwrap();
    let suspect = suspect(&store, "s_suspect").await;
    store.scoped(&ours()).cancel_run(suspect, "user_a", None).await.unwrap();
    let claims = store.claim(busy, MOST, LEASE).await.unwrap();
    assert_eq!((ids(&claims), claims[0].verdict), (vec![suspect], Verdict::Cancel));
}

#[tokio::test]
async fn a_completed_step_clears_a_run_of_suspicion() {
    use store::journal::{Entry, NewCheckpoint};
    let store = fresh().await;
    let suspect = suspect(&store, "s_1").await;
    let claim = claim_one(&store).await;
    assert_eq!(claim.verdict, Verdict::ExecuteAlone);
    let checkpoint = NewCheckpoint { step: 1, message_count: 0, state: serde_json::json!({}) };
    let entry = Entry { checkpoint: Some(checkpoint), ..Entry::default() };
    store.journal(&claim).commit(&entry).await.unwrap();
    store.release(&[claim.lease()]).await.unwrap();
    let next = claim_one(&store).await;
    assert_eq!((next.run_id, next.attempts, next.verdict), (suspect, 0, Verdict::Execute));
}

#[tokio::test]
async fn a_run_that_loses_no_more_workers_than_die_anyway_is_not_given_up() {
    let (store, database) = fresh_with_database().await;
    // Four workers die, none of them with a run that another worker dies with.
    for n in 0..4 {
        let run_id = create_in(&store, &ours(), &format!("s_{n}")).await;
        store.claim(Uuid::now_v7(), MOST, NO_LEASE).await.unwrap();
        let claim = claim_one(&store).await;
        assert_eq!((claim.run_id, claim.attempts), (run_id, 1));
        finish(&store, &claim).await;
    }
    assert_eq!(deaths_of_a_killer(&store, "s_unlucky").await, 9, "four are nobody's");
    assert_eq!(deaths_of_a_killer(&store, "s_next").await, 9, "those nine speak for none");

    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let later = "update lost_leases set lost_at = lost_at - interval '1 minute'";
    sqlx::query(later).execute(&mut admin).await.unwrap();
    assert_eq!(deaths_of_a_killer(&store, "s_later").await, 5);
    store.tidy_up().await.unwrap();
    let kept = sqlx::query_scalar::<_, i64>("select count(*) from lost_leases");
    assert_eq!(kept.fetch_one(&mut admin).await.unwrap(), 5, "the others are of no interest");
}

/// Workers that a run is lost with before it is given up, when it is lost with all that claim it.
async fn deaths_of_a_killer(store: &store::Store, session: &str) -> u32 {
    create_in(store, &ours(), session).await;
    let mut deaths = 0;
    loop {
        let claims = store.claim(Uuid::now_v7(), MOST, NO_LEASE).await.unwrap();
        let [claim] = claims.as_slice() else { panic!("one run waits: {claims:?}") };
        if claim.verdict == Verdict::GiveUp {
            finish(store, claim).await;
            return deaths;
        }
        deaths += 1;
    }
}
