//! How long things are kept.

use std::time::Duration;

use protocol::page::PageLimit;
use store::{
    Store,
    error::StoreError,
    journal::{End, Entry, NewCheckpoint},
    stream::StreamCursor,
};

use crate::{claim_one, create, create_in, fresh_with, ours, warning};

async fn ended(store: &Store) -> protocol::id::RunId {
    let run_id = create(store).await;
    let checkpoint = NewCheckpoint { step: 1, message_count: 0, state: serde_json::json!({}) };
    let entry = Entry {
        events: vec![warning("1"), warning("2")],
        checkpoint: Some(checkpoint),
        end: Some(End::Completed { output: "kept".into() }),
        ..Entry::default()
    };
    store.journal(&claim_one(store).await).commit(&entry).await.unwrap();
    run_id
}

#[tokio::test]
async fn what_is_older_than_it_may_be_goes_and_the_rest_stays() {
    let store = fresh_with(|settings| settings.retention.events_days = Some(0)).await;
    let old = ended(&store).await;
    let scoped = store.scoped(&ours());
    tokio::time::sleep(Duration::from_millis(5)).await; // The clock of the ids has milliseconds.
    store.tidy_up().await.unwrap();
    let page = scoped.list_events(old, 0, PageLimit::default(), &[]).await.unwrap();
    assert!(page.items.is_empty());
    assert_eq!(scoped.get_run(old).await.unwrap().output.as_deref(), Some("kept"));
    let frames = scoped.read_frames(old, StreamCursor::default(), true).await.unwrap();
    assert!(frames.frames.is_empty() && frames.ended, "nothing will follow");

    let live = create_in(&store, &ours(), "s_live").await;
    let mut journal = store.journal(&claim_one(&store).await);
    journal.commit(&crate::entry(vec![warning("1")])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.tidy_up().await.unwrap();
    let page = scoped.list_events(live, 0, PageLimit::default(), &[]).await.unwrap();
    assert_eq!(page.items.len(), 1, "a run that has not ended keeps all");
}

#[tokio::test]
async fn a_run_goes_with_all_that_belongs_to_it_and_young_ones_stay() {
    let store = fresh_with(|settings| settings.retention.runs_days = Some(0)).await;
    let old = ended(&store).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.tidy_up().await.unwrap();
    let gone = store.scoped(&ours()).get_run(old).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");

    let store = fresh_with(|settings| settings.retention.runs_days = Some(1)).await;
    let young = ended(&store).await;
    store.tidy_up().await.unwrap();
    assert_eq!(store.scoped(&ours()).get_run(young).await.unwrap().event_count, 2);
}
