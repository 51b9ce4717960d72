//! Frames in their order.

use protocol::id::RunId;
use sqlx::{Connection, PgConnection};
use store::{
    journal::{End, Entry, NewDelta},
    stream::{Frame, StreamCursor},
};

use crate::{claim_one, create, create_in, entry, fresh, fresh_with_database, ours, warning};

fn at(seq: u64, n: u64) -> StreamCursor {
    StreamCursor { seq, n }
}

fn said(seq: u64, n: u64, text: &str) -> NewDelta {
    NewDelta { at: at(seq, n), step: 1, text: Some(text.into()) }
}

fn places(frames: &[Frame]) -> Vec<(u64, u64)> {
    frames.iter().map(|frame| (frame.cursor().seq, frame.cursor().n)).collect()
}

#[tokio::test]
async fn deltas_stand_between_the_events_they_came_between() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let mut journal = store.journal(&claim_one(&store).await);
    journal.commit(&entry(vec![warning("1"), warning("2")])).await.unwrap();
    journal
        .commit(&Entry { deltas: vec![said(2, 1, "你"), said(2, 2, "好")], ..Entry::default() })
        .await
        .unwrap();
    let void = NewDelta { at: at(3, 1), step: 1, text: None };
    journal.commit(&Entry { deltas: vec![void], ..entry(vec![warning("3")]) }).await.unwrap();
    let scoped = store.scoped(&ours());
    let all = scoped.read_frames(run_id, at(0, 0), true).await.unwrap();
    assert_eq!(places(&all.frames), [(1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)]);
    assert!(matches!(&all.frames[5], Frame::Reset { step_id, .. } if step_id == "step_0001"));
    assert!(!all.ended);
    for (cursor, rest) in [
        (at(2, 0), vec![(2, 1), (2, 2), (3, 0), (3, 1)]),
        (at(2, 1), vec![(2, 2), (3, 0), (3, 1)]),
        (at(3, 0), vec![(3, 1)]),
        (at(3, 1), vec![]),
    ] {
        let frames = scoped.read_frames(run_id, cursor, true).await.unwrap().frames;
        assert_eq!(places(&frames), rest, "{cursor:?}");
    }
    let events = scoped.read_frames(run_id, at(0, 0), false).await.unwrap().frames;
    assert_eq!(places(&events), [(1, 0), (2, 0), (3, 0)]);
}

#[tokio::test]
async fn the_end_is_seen_with_the_last_event_and_not_before() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let scoped = store.scoped(&ours());
    assert!(!scoped.read_frames(run_id, at(0, 0), true).await.unwrap().ended);
    let mut journal = store.journal(&claim_one(&store).await);
    let events = (0..700).map(|n| warning(&n.to_string())).collect();
    journal
        .commit(&Entry { end: Some(End::Completed { output: "ok".into() }), ..entry(events) })
        .await
        .unwrap();
    let first = scoped.read_frames(run_id, at(0, 0), true).await.unwrap();
    assert_eq!((first.frames.len(), first.ended), (500, false));
    let cursor = first.frames.last().unwrap().cursor();
    let second = scoped.read_frames(run_id, cursor, true).await.unwrap();
    assert_eq!((second.frames.len(), second.ended), (200, true));
    let nothing = scoped.read_frames(run_id, at(700, 0), true).await.unwrap();
    assert!(nothing.frames.is_empty() && nothing.ended);
}

#[tokio::test]
async fn a_read_is_bounded_in_bytes_and_loses_nothing() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let mut journal = store.journal(&claim_one(&store).await);
    let large = "x".repeat(700_000);
    for _ in 0..8 {
        journal.commit(&entry(vec![warning(&large)])).await.unwrap();
    }
    let void = NewDelta { at: at(8, 1), step: 1, text: None };
    journal.commit(&Entry { deltas: vec![void], ..Entry::default() }).await.unwrap();
    let scoped = store.scoped(&ours());
    let (mut seen, mut cursor) = (Vec::new(), at(0, 0));
    loop {
        let read = scoped.read_frames(run_id, cursor, true).await.unwrap();
        assert!(read.frames.len() <= 3, "{}", read.frames.len());
        seen.extend(places(&read.frames));
        cursor = read.frames.last().unwrap().cursor();
        if !read.more && cursor == at(8, 1) {
            break;
        }
    }
    let mut all: Vec<_> = (1..=8).map(|seq| (seq, 0)).collect();
    all.push((8, 1));
    assert_eq!(seen, all);
    let limit = protocol::page::PageLimit::default();
    let page = scoped.list_events(run_id, 0, limit, &[]).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor.as_deref()), (6, Some("6")));
    let page = scoped.list_events(run_id, 6, limit, &[]).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor), (2, None));
}

/// Pages of the database that one read of the run's beginning looks at.
async fn pages_read(admin: &mut PgConnection, run_id: RunId) -> i64 {
    let plan: serde_json::Value = sqlx::query_scalar(
        "explain (analyze, buffers, format json)
         select * from run_frames('org_a', 'user_a', '', $1, 0, 0, true, null, 500, 1048576)",
    )
    .bind(run_id.uuid())
    .fetch_one(admin)
    .await
    .unwrap();
    let read = |kind: &str| plan[0]["Plan"][kind].as_i64().unwrap();
    read("Shared Hit Blocks") + read("Shared Read Blocks")
}

#[tokio::test]
async fn a_read_costs_what_it_answers_however_long_the_run_is() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    // Out of line and as long as they are.
    sqlx::query("alter table events alter payload set storage external")
        .execute(&mut admin)
        .await
        .unwrap();
    let large = "x".repeat(700_000);
    let mut cost = Vec::new();
    for events in [3, 40] {
        let run_id = create_in(&store, &ours(), &format!("s_{events}")).await;
        let mut journal = store.journal(&claim_one(&store).await);
        for _ in 0..events {
            journal.commit(&entry(vec![warning(&large)])).await.unwrap();
        }
        pages_read(&mut admin, run_id).await; // What is read only once: the catalogue.
        cost.push(pages_read(&mut admin, run_id).await);
    }
    assert!(cost[0] > 100 && cost[1] < cost[0] * 3 / 2, "{cost:?}");
}
