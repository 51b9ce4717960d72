//! Deltas of many runs, written together.

use futures::future::join_all;
use protocol::id::RunId;
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    error::StoreError,
    journal::{Entry, Journal, JournalError, NewDelta},
    stream::{Frame, StreamCursor},
};
use uuid::Uuid;

use crate::{claim_one, create_in, entry, fresh_with_database, ours, strangers, warning};

/// A claimed run of each of these scopes, with one event written.
async fn begun(store: &Store, scopes: &[protocol::scope::Scope]) -> Vec<(RunId, Journal)> {
    let mut begun = Vec::new();
    for scope in scopes {
        let run_id = create_in(store, scope, &format!("s_{}", Uuid::now_v7().simple())).await;
        let mut journal = store.journal(&claim_one(store).await);
        journal.commit(&entry(vec![warning("begun")])).await.unwrap();
        begun.push((run_id, journal));
    }
    begun
}

fn says(n: u64, text: &str) -> Entry {
    let delta = NewDelta { at: StreamCursor { seq: 1, n }, step: 1, text: Some(text.into()) };
    Entry { deltas: vec![delta], ..Entry::default() }
}

/// All at once: they wait for the writer together.
async fn say_all(
    begun: &mut [(RunId, Journal)],
    entry: impl Fn(usize) -> Entry,
) -> Vec<Result<(), JournalError>> {
    let entries: Vec<_> = (0..begun.len()).map(entry).collect();
    let commits = begun.iter_mut().zip(&entries).map(|((_, journal), entry)| journal.commit(entry));
    join_all(commits).await
}

async fn text_of(store: &Store, scope: &protocol::scope::Scope, run_id: RunId) -> Vec<String> {
    let at = StreamCursor { seq: 1, n: 0 };
    let frames = store.scoped(scope).read_frames(run_id, at, true).await.unwrap().frames;
    let text = |frame: Frame| match frame {
        Frame::Delta { text, .. } => text,
        Frame::Event(_) | Frame::Reset { .. } => "no text".to_owned(),
    };
    frames.into_iter().map(text).collect()
}

#[tokio::test]
async fn what_runs_say_at_once_is_one_write_and_each_reads_its_own() {
    let (store, database) = fresh_with_database().await;
    let scopes: Vec<_> = std::iter::once(ours()).chain(strangers()).chain([ours()]).collect();
    let mut begun = begun(&store, &scopes).await;
    let written = say_all(&mut begun, |n| says(1, &format!("一 {n}"))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    for (n, (scope, (run_id, journal))) in scopes.iter().zip(&mut begun).enumerate() {
        assert_eq!(text_of(&store, scope, *run_id).await, [format!("一 {n}")]);
        journal.commit(&entry(vec![warning("after")])).await.unwrap();
        assert_eq!(journal.last_seq(), 2, "a delta takes no number");
    }
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let writes: Vec<(i64, i64)> =
        sqlx::query_as("select count(distinct xmin::text), count(*) from run_deltas")
            .fetch_all(&mut admin)
            .await
            .unwrap();
    assert_eq!(writes, [(1, 5)]);
}

#[tokio::test]
async fn whoever_may_not_write_is_told_why_and_hinders_nobody() {
    let (store, database) = fresh_with_database().await;
    let scopes = vec![ours(); 5];
    let mut begun = begun(&store, &scopes).await;
    let [well, cancelled, stale, wrong, held] = [0, 1, 2, 3, 4].map(|n: usize| begun[n].0);
    store.scoped(&ours()).cancel_run(cancelled, "user_a", None).await.unwrap();
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let newer = "update runs set epoch = epoch + 1 where run_id = $1";
    sqlx::query(newer).bind(stale.uuid()).execute(&mut admin).await.unwrap();
    let mut holder = admin.begin().await.unwrap();
    let hold = "select from runs where run_id = $1 for update";
    sqlx::query(hold).bind(held.uuid()).execute(&mut *holder).await.unwrap();

    // The one that is held waits by itself, and is written in the end.
    let mut waits = begun.pop().unwrap().1;
    let held_says = says(1, "held");
    let mut waiting = Box::pin(waits.commit(&held_says));
    assert!(futures::poll!(&mut waiting).is_pending());
    // The table refuses place 0, and with it the statement for all.
    let written = say_all(&mut begun, |n| says(if n == 3 { 0 } else { 1 }, "text")).await;
    assert!(written[0].is_ok(), "{written:?}");
    assert!(matches!(written[1], Err(JournalError::CancelRequested)), "{written:?}");
    assert!(matches!(written[2], Err(JournalError::LeaseLost)), "{written:?}");
    let refused =
        |error: &JournalError| matches!(error, JournalError::Store(StoreError::Database(_)));
    assert!(written[3].as_ref().is_err_and(refused), "{written:?}");
    assert!(futures::poll!(&mut waiting).is_pending());
    holder.rollback().await.unwrap();
    waiting.await.unwrap();
    for (run_id, texts) in [
        (well, vec!["text"]),
        (held, vec!["held"]),
        (cancelled, vec![]),
        (stale, vec![]),
        (wrong, vec![]),
    ] {
        assert_eq!(text_of(&store, &ours(), run_id).await, texts);
    }
}

#[tokio::test]
async fn a_delta_whose_answer_was_lost_is_written_once() {
    let (store, _database) = fresh_with_database().await;
    let mut begun = begun(&store, &[ours()]).await;
    for _ in 0..2 {
        let written = say_all(&mut begun, |_| says(1, "once")).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }
    assert_eq!(text_of(&store, &ours(), begun[0].0).await, ["once"]);
}

#[tokio::test]
async fn a_long_text_goes_by_itself() {
    let (store, _database) = fresh_with_database().await;
    let mut begun = begun(&store, &[ours(), ours()]).await;
    let long = "x".repeat(100_000);
    let written = say_all(&mut begun, |n| says(1, if n == 0 { &long } else { "short" })).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(text_of(&store, &ours(), begun[0].0).await, [long]);
    assert_eq!(text_of(&store, &ours(), begun[1].0).await, ["short"]);
}
