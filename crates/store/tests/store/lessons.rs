//! What providers have taught: heard by every node, bounded, and forgotten after a week.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    lessons::{KeptLesson, LESSONS_MAX},
};

use crate::fresh_with_database;

fn lesson(model: &str, kind: &str) -> KeptLesson {
    KeptLesson {
        base_url: "http://a/v1".into(),
        model: model.into(),
        lesson: json!({"kind": kind}),
    }
}

async fn kept(store: &Store) -> Vec<KeptLesson> {
    store.kept_lessons().await.unwrap().into_iter().map(|(lesson, _)| lesson).collect()
}

#[tokio::test]
async fn a_lesson_is_kept_for_a_week_after_it_was_learnt_last() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let (first, second) = (lesson("m", "no_temperature"), lesson("m", "no_stream"));
    for lesson in [&first, &second, &first] {
        store.keep_lesson(lesson, LESSONS_MAX).await.unwrap();
    }
    assert_eq!(kept(&store).await, [second.clone(), first.clone()], "once each, the latest last");

    let age = "update model_lessons set learnt_at = learnt_at - interval '8 days'
               where lesson ->> 'kind' = 'no_stream'";
    sqlx::query(age).execute(&mut admin).await.unwrap();
    assert_eq!(kept(&store).await, std::slice::from_ref(&first));
    store.tidy_up().await.unwrap();
    let rows = sqlx::query_scalar::<_, i64>("select count(*) from model_lessons");
    assert_eq!(rows.fetch_one(&mut admin).await.unwrap(), 1);

    sqlx::query("delete from model_lessons").execute(&mut admin).await.unwrap();
    assert_eq!(kept(&store).await, []);
}

#[tokio::test]
async fn a_lesson_says_how_old_it_is_and_one_that_was_wrong_is_forgotten() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let (wrong, right) = (lesson("m", "no_temperature"), lesson("n", "no_temperature"));
    for lesson in [&wrong, &right] {
        store.keep_lesson(lesson, LESSONS_MAX).await.unwrap();
    }
    let age = "update model_lessons set learnt_at = learnt_at - interval '2 hours'";
    sqlx::query(age).execute(&mut admin).await.unwrap();
    let known = store.kept_lessons().await.unwrap();
    let two_hours = Duration::from_secs(7200)..Duration::from_secs(7260);
    assert!(known.iter().all(|(_, age)| two_hours.contains(age)), "{known:?}");
    store.forget_lesson(&wrong).await.unwrap();
    store.forget_lesson(&lesson("absent", "no_temperature")).await.unwrap();
    assert_eq!(kept(&store).await, [right]);
}

#[tokio::test]
async fn lessons_are_bounded_in_number_form_and_kind() {
    let (store, _database) = fresh_with_database().await;
    for number in 0..5 {
        store.keep_lesson(&lesson(&format!("m{number}"), "no_stream"), 3).await.unwrap();
    }
    assert_eq!(store.kept_lessons().await.unwrap().len(), 3);
    for refused in [lesson("words of a tenant", "no_stream"), lesson("m", "anything")] {
        store.keep_lesson(&refused, LESSONS_MAX).await.unwrap_err();
    }
    let long = json!({"kind": "tool", "name": "x".repeat(2000)});
    let long = KeptLesson { lesson: long, ..lesson("m", "tool") };
    store.keep_lesson(&long, LESSONS_MAX).await.unwrap_err();
}
