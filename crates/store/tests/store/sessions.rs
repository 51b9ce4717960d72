//! Runs of one session: one after another, whatever happens to the one before.

use std::{collections::HashSet, time::Duration};

use protocol::{
    id::RunId,
    page::PageLimit,
    run::{CreateRun, IfBusy, RunStatus},
};
use store::{
    error::StoreError,
    journal::{End, Entry},
    queue::Lease,
    run_lists::RunFilter,
    runs::IdempotencyKey,
};
use uuid::Uuid;

use crate::{claim_one, create_in, finish, fresh, fresh_with_database, open, ours};

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn runs_of_a_session_do_one_after_another_and_other_sessions_at_once() {
    let store = fresh().await;
    let node = Uuid::now_v7();
    let first = create_in(&store, &ours(), "s_a").await;
    let second = create_in(&store, &ours(), "s_a").await;
    let other = create_in(&store, &ours(), "s_b").await;
    let foreign = create_in(&store, &crate::scope("org_a", "user_b", None), "s_a").await;
    let ids = async |most| -> HashSet<RunId> {
        let claims = store.claim(node, most, LEASE).await.unwrap();
        claims.iter().map(|claim| claim.run_id).collect()
    };
    assert_eq!(ids(10).await, HashSet::from([first, other, foreign]));
    assert_eq!(ids(10).await, HashSet::new(), "the second waits for the first");
    // Handed back, the first still comes before the second.
    let lease = Lease { org_id: "org_a".into(), run_id: first, epoch: 1 };
    store.release(&[lease]).await.unwrap();
    let again = store.claim(node, 10, LEASE).await.unwrap().remove(0);
    assert_eq!(again.run_id, first);
    let end = End::Completed { output: "done".into() };
    store.journal(&again).commit(&Entry { end: Some(end), ..Entry::default() }).await.unwrap();
    assert_eq!(ids(10).await, HashSet::from([second]));
}

fn run_if(if_busy: IfBusy) -> CreateRun {
    CreateRun { session_key: "s_a".parse().unwrap(), if_busy, ..CreateRun::new("x") }
}

#[tokio::test]
async fn a_busy_session_refuses_who_does_not_want_to_wait() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let first = scoped.create_run(&run_if(IfBusy::Reject), None).await.unwrap().run_id;
    for key in [None, Some(IdempotencyKey { key: "k".into(), request_hash: [1; 32] })] {
        let refused = match &key {
            None => scoped.create_run(&run_if(IfBusy::Reject), None).await.map(|_| ()),
            Some(key) => {
                scoped.create_run_once(&run_if(IfBusy::Reject), None, key).await.map(|_| ())
            }
        };
        assert!(matches!(refused, Err(StoreError::SessionBusy)), "{refused:?}");
    }
    let claim = store.claim(Uuid::now_v7(), 1, LEASE).await.unwrap().remove(0);
    assert_eq!(claim.run_id, first);
    assert!(scoped.create_run(&run_if(IfBusy::Reject), None).await.is_err());
    finish(&store, &claim).await;
    scoped.create_run(&run_if(IfBusy::Reject), None).await.unwrap();
}

#[tokio::test]
async fn an_interrupting_run_stops_those_before_it_and_waits_for_the_last() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let running = create_in(&store, &ours(), "s_a").await;
    let claim = store.claim(Uuid::now_v7(), 1, LEASE).await.unwrap().remove(0);
    let waiting = create_in(&store, &ours(), "s_a").await;
    let elsewhere = create_in(&store, &ours(), "s_b").await;
    let new = scoped.create_run(&run_if(IfBusy::Interrupt), None).await.unwrap().run_id;
    let status = async |id: RunId| scoped.get_run(id).await.unwrap().status;
    assert_eq!(status(waiting).await, RunStatus::Cancelled);
    assert_eq!(status(running).await, RunStatus::Running);
    assert_eq!(status(elsewhere).await, RunStatus::Pending);
    assert!(store.journal(&claim).cancel_request().await.unwrap().is_some());
    let ids = async || -> HashSet<RunId> {
        let claims = store.claim(Uuid::now_v7(), 10, LEASE).await.unwrap();
        claims.iter().map(|claim| claim.run_id).collect()
    };
    assert_eq!(ids().await, HashSet::from([elsewhere]));
    let end = Some(End::Cancelled);
    store.journal(&claim).commit(&Entry { end, ..Entry::default() }).await.unwrap();
    assert_eq!(ids().await, HashSet::from([new]));
}

#[tokio::test]
async fn a_waiting_run_that_is_cancelled_lets_nobody_overtake() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let first = create_in(&store, &ours(), "s_a").await;
    let second = create_in(&store, &ours(), "s_a").await;
    let third = create_in(&store, &ours(), "s_a").await;
    let claim = store.claim(Uuid::now_v7(), 10, LEASE).await.unwrap().remove(0);
    assert_eq!(claim.run_id, first);
    scoped.cancel_run(second, "user_a", None).await.unwrap();
    assert!(store.claim(Uuid::now_v7(), 10, LEASE).await.unwrap().is_empty());
    finish(&store, &claim).await;
    assert_eq!(store.claim(Uuid::now_v7(), 10, LEASE).await.unwrap()[0].run_id, third);
}

/// Creators, claimers and enders of a few sessions at once: never two of one session at work, and
/// nobody waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn however_they_race_a_session_has_one_run_at_work() {
    const SESSIONS: usize = 3;
    const RUNS: usize = 60;
    let store = fresh().await;
    let create = async {
        let runs = (0..RUNS).map(|n| {
            let store = store.clone();
            async move { create_in(&store, &ours(), &format!("s_{}", n % SESSIONS)).await }
        });
        futures::future::join_all(runs).await;
    };
    let at_work = std::sync::Mutex::new(HashSet::new());
    let done = std::sync::atomic::AtomicUsize::new(0);
    let work = async || {
        while done.load(std::sync::atomic::Ordering::SeqCst) < RUNS {
            for claim in store.claim(Uuid::now_v7(), 2, LEASE).await.unwrap() {
                let session = claim.session_key.clone();
                assert!(at_work.lock().unwrap().insert(session.clone()), "two of {session}");
                tokio::task::yield_now().await;
                at_work.lock().unwrap().remove(&session);
                finish(&store, &claim).await;
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
    };
    let all = async { tokio::join!(create, work(), work(), work()) };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
}

#[tokio::test]
async fn runs_stand_in_the_order_in_which_the_database_took_them_whichever_node_asked() {
    let (one, database) = fresh_with_database().await;
    let two = open(&database.app_url).await;
    let mut created = Vec::new();
    for store in [&one, &two, &one, &two, &one, &two] {
        created.push(create_in(store, &ours(), "s_a").await);
    }
    let page = two
        .scoped(&ours())
        .list_runs(&RunFilter::default(), None, PageLimit::default())
        .await
        .unwrap();
    let newest_first: Vec<_> = page.items.iter().map(|run| run.run_id).collect();
    assert!(newest_first.iter().rev().eq(&created));
    for run in &page.items {
        // The id tells the same time as the row does: the database's.
        let (seconds, nanoseconds) = run.run_id.uuid().get_timestamp().expect("a UUIDv7").to_unix();
        let made_at_ms = i128::from(seconds) * 1000 + i128::from(nanoseconds / 1_000_000);
        assert_eq!(made_at_ms, run.created_at.get().as_millisecond().into());
    }
    for run_id in created {
        let claim = claim_one(&two).await;
        assert_eq!(claim.run_id, run_id);
        finish(&two, &claim).await;
    }
}
