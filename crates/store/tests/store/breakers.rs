//! Models that fail: when their breaker opens, who may ask them then, and what closes it.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use store::{
    Store,
    breakers::{BREAKER_FAILURES, BREAKER_OPEN, REST_MAX},
};

use crate::fresh_with_database;

/// What is kept of the model: failures, whether it is open, rests, is on trial.
async fn kept(store: &Store) -> Option<(u32, bool, bool, bool)> {
    let kept = store.breakers().await.unwrap();
    assert!(kept.len() <= 1);
    let flags = |it: &store::breakers::Breaker| {
        (it.failures, it.is_open, !it.rests.is_zero(), !it.on_trial.is_zero())
    };
    kept.first().map(flags)
}

/// Of organisations by turns.
async fn fail_for(store: &Store, orgs: &[&str], times: i32) {
    for org in orgs.iter().cycle().take(usize::try_from(times).unwrap()) {
        store.model_failed("p/m", &org.parse().unwrap()).await.unwrap();
    }
}

async fn fail(store: &Store, times: i32) {
    fail_for(store, &["a", "b"], times).await;
}

/// For whom alone all that is kept is so.
async fn only(store: &Store) -> Option<String> {
    store.breakers().await.unwrap()[0].only.clone()
}

#[tokio::test]
async fn failures_of_one_organisation_alone_let_the_model_rest_for_nobody_else() {
    let (store, database) = fresh_with_database().await;
    let most = u32::try_from(BREAKER_FAILURES).unwrap();
    fail_for(&store, &["a"], BREAKER_FAILURES - 1).await;
    fail_for(&store, &["b"], 1).await;
    assert_eq!(kept(&store).await, Some((most, true, true, false)));
    assert_eq!(only(&store).await.as_deref(), Some("a"));

    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let rested = "update model_breakers set rests_until = clock_timestamp()";
    sqlx::query(rested).execute(&mut admin).await.unwrap();
    fail_for(&store, &["b"], 1).await;
    assert_eq!(kept(&store).await, Some((most, true, false, false)), "not for the second failure");
    fail_for(&store, &["c"], 1).await;
    assert_eq!(kept(&store).await, Some((most, true, true, false)), "it fails for others, too");
    assert_eq!(only(&store).await, None);
}

#[tokio::test]
async fn failures_in_a_row_open_a_breaker_and_an_answer_on_trial_closes_it() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let mut sql = async |query: &'static str| {
        sqlx::query(query).execute(&mut admin).await.unwrap();
    };
    let most = u32::try_from(BREAKER_FAILURES).unwrap();

    fail(&store, BREAKER_FAILURES - 1).await;
    assert_eq!(kept(&store).await, Some((most - 1, false, false, false)));
    store.model_answered("p/m").await.unwrap();
    assert_eq!(kept(&store).await, None, "an answer voids them");

    fail(&store, BREAKER_FAILURES - 1).await;
    sql("update model_breakers set counted_from = counted_from - interval '31 seconds'").await;
    fail(&store, 1).await;
    assert_eq!(kept(&store).await, Some((1, false, false, false)), "they were too far apart");

    fail(&store, BREAKER_FAILURES - 1).await;
    assert_eq!(kept(&store).await, Some((most, true, true, false)));
    assert!(store.breakers().await.unwrap()[0].rests <= BREAKER_OPEN);
    store.model_answered("p/m").await.unwrap();
    fail(&store, 1).await;
    assert_eq!(kept(&store).await, Some((most, true, true, false)), "those were under way");
    assert!(!store.try_model("p/m").await.unwrap().0, "it rests");

    let rested = "update model_breakers set rests_until = clock_timestamp()";
    sql(rested).await;
    assert!(store.try_model("p/m").await.unwrap().0);
    assert!(!store.try_model("p/m").await.unwrap().0, "one at a time");
    assert_eq!(kept(&store).await, Some((most, true, false, true)));
    fail(&store, 1).await;
    assert_eq!(kept(&store).await, Some((most, true, true, false)), "the trial has failed");

    sql(rested).await;
    assert!(store.try_model("p/m").await.unwrap().0);
    sql("update model_breakers set trial_until = clock_timestamp()").await;
    assert!(store.try_model("p/m").await.unwrap().0, "whoever had it is gone");
    store.model_answered("p/m").await.unwrap();
    assert_eq!(kept(&store).await, None);
}

#[tokio::test]
async fn a_pause_is_bounded_and_opens_nothing() {
    let (store, _database) = fresh_with_database().await;
    store.model_rests("p/m", Duration::from_secs(3600)).await.unwrap();
    assert_eq!(kept(&store).await, Some((0, false, true, false)));
    assert!(store.breakers().await.unwrap()[0].rests <= REST_MAX);
    store.model_answered("p/m").await.unwrap();
    assert!(kept(&store).await.is_some(), "that answer was under way");
}

#[tokio::test]
async fn what_says_nothing_any_more_is_removed() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    fail(&store, 1).await;
    store.tidy_up().await.unwrap();
    assert!(kept(&store).await.is_some());
    let age = "update model_breakers set counted_from = counted_from - interval '2 hours'";
    sqlx::query(age).execute(&mut admin).await.unwrap();
    store.tidy_up().await.unwrap();
    assert_eq!(kept(&store).await, None);
}
