//! Runs as their tenant sees them.

use protocol::{
    id::RunId,
    page::PageLimit,
    run::{CreateRun, LlmConfig, RunLimits, RunStatus},
};
use serde_json::json;
use store::{
    Store,
    error::StoreError,
    journal::{End, Entry},
    run_lists::RunFilter,
    runs::IdempotencyKey,
    settings::StoreSettings,
};

use crate::{claim_one, create, fresh, fresh_with_database, open, ours, strangers};

fn limit(rows: u32) -> PageLimit {
    PageLimit::try_from(rows).unwrap()
}

#[tokio::test]
async fn a_run_comes_back_as_it_was_created() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let mut new = CreateRun::new("帮我总结今天的工作");
    new.session_key = "s_demo".parse().unwrap();
    new.metadata = json!({"b": 1, "a": ["中"]}).as_object().cloned();
    new.limits = Some(RunLimits { max_steps: Some(3), ..RunLimits::default() });
    new.llm_config = Some(LlmConfig { model: Some("m".into()), ..LlmConfig::default() });
    let created = scoped.create_run(&new, None).await.unwrap();
    assert_eq!(created.status, RunStatus::Pending);
    let run = scoped.get_run(created.run_id).await.unwrap();
    assert_eq!((run.status, run.event_count, run.step_count), (RunStatus::Pending, 0, 0));
    assert_eq!((run.input.as_str(), run.session_key.as_str()), ("帮我总结今天的工作", "s_demo"));
    assert_eq!(Some(run.metadata), new.metadata);
    assert_eq!(run.created_at, created.created_at);
    assert_eq!((run.started_at, run.ended_at, run.duration_ms), (None, None, None));
    let claim = claim_one(&store).await;
    assert_eq!((claim.limits, claim.llm_config), (new.limits, new.llm_config));
}

#[tokio::test]
async fn a_stranger_finds_nothing_and_changes_nothing() {
    let store = fresh().await;
    let run_id = create(&store).await;
    for scope in strangers() {
        let scoped = store.scoped(&scope);
        assert!(matches!(scoped.get_run(run_id).await, Err(StoreError::NotFound)));
        assert!(matches!(
            scoped.cancel_run(run_id, "stranger", None).await,
            Err(StoreError::NotFound)
        ));
        assert!(matches!(
            scoped.list_events(run_id, 0, limit(1), &[]).await,
            Err(StoreError::NotFound)
        ));
        assert!(matches!(
            scoped.read_frames(run_id, Default::default(), true).await,
            Err(StoreError::NotFound)
        ));
        let page = scoped.list_runs(&RunFilter::default(), None, limit(10)).await.unwrap();
        assert_eq!(page.items.len(), 0);
        assert_eq!(scoped.list_sessions(None, limit(10)).await.unwrap().items.len(), 0);
    }
    let run = store.scoped(&ours()).get_run(run_id).await.unwrap();
    assert_eq!(run.status, RunStatus::Pending);
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(&store).await);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = scoped.list_runs(&RunFilter::default(), cursor, limit(2)).await.unwrap();
        seen.extend(page.items.iter().map(|run| run.run_id));
        let Some(next) = page.next_cursor else { break };
        cursor = Some(next.parse().unwrap());
    }
    assert_eq!(seen, ids);
    scoped.cancel_run(ids[2], "me", None).await.unwrap();
    let filter = RunFilter { statuses: vec![RunStatus::Cancelled], ..RunFilter::default() };
    let page = scoped.list_runs(&filter, None, limit(1)).await.unwrap();
    assert_eq!(page.items[0].run_id, ids[2]);
    assert_eq!(page.next_cursor, None);
}

/// A caller that stops waiting while its transaction begins must not make the next caller's writes
/// part of it.
#[tokio::test]
async fn what_is_written_after_a_dropped_begin_is_kept() {
    let (store, database) = fresh_with_database().await;
    store.close().await;
    let settings = StoreSettings { max_connections: 1, ..StoreSettings::new(&*database.app_url) };
    let store = Store::connect(&settings).await.unwrap();
    let scoped = store.scoped(&ours());
    let unknown = RunId::generate();
    for patience in 0..200 {
        let leaving = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = scoped.get_run(unknown) => {}
            () = leaving => {}
        }
        create(&store).await;
    }
    store.close().await;
    let store = open(&database.app_url).await;
    assert_eq!(store.queue_depth().await.unwrap().ready, 200);
}

#[tokio::test]
async fn a_pending_run_is_cancelled_at_once_and_only_once() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let run_id = create(&store).await;
    let answer = scoped.cancel_run(run_id, "user_a", Some("enough")).await.unwrap();
    assert_eq!(answer.status, RunStatus::Cancelled);
    let events = scoped.list_events(run_id, 0, limit(10), &[]).await.unwrap().items;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].type_name, "run.cancelled");
    let payload: serde_json::Value = serde_json::from_str(events[0].payload.get()).unwrap();
    assert_eq!(payload, json!({"by": "user_a", "reason": "enough", "stopped": [], "unknown": []}));
    assert!(matches!(
        scoped.cancel_run(run_id, "user_a", None).await,
        Err(StoreError::RunAlreadyFinished)
    ));
    assert_eq!(store.queue_depth().await.unwrap().ready, 0);
    assert!(
        store
            .claim(uuid::Uuid::now_v7(), 1, std::time::Duration::from_secs(1))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_run_however_often_and_at_once() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let key = |hash| IdempotencyKey { key: "k".into(), request_hash: [hash; 32] };
    let new = CreateRun::new("once");
    let (first, again) = (key(1), key(1));
    assert_eq!(scoped.find_run_once(&first).await.unwrap(), None);
    let tries = (0..20).map(|_| scoped.create_run_once(&new, None, &first));
    let mut ids: Vec<_> =
        futures::future::join_all(tries).await.into_iter().map(|made| made.unwrap()).collect();
    assert_eq!(ids.iter().filter(|(_, replayed)| !replayed).count(), 1);
    ids.dedup_by_key(|(created, _)| created.clone());
    assert_eq!(ids.len(), 1);
    assert_eq!(scoped.create_run_once(&new, None, &again).await.unwrap().0, ids[0].0);
    assert_eq!(scoped.find_run_once(&again).await.unwrap().as_ref(), Some(&ids[0].0));
    assert!(matches!(
        scoped.create_run_once(&new, None, &key(2)).await,
        Err(StoreError::IdempotencyMismatch)
    ));
    assert!(matches!(scoped.find_run_once(&key(2)).await, Err(StoreError::IdempotencyMismatch)));
    for scope in strangers() {
        assert_eq!(store.scoped(&scope).find_run_once(&key(1)).await.unwrap(), None);
        let (other, replayed) =
            store.scoped(&scope).create_run_once(&new, None, &key(1)).await.unwrap();
        assert!(!replayed && other.run_id != ids[0].0.run_id);
    }
}

#[tokio::test]
async fn sessions_are_ordered_by_their_newest_run() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    for (session, input) in [("s_1", "a"), ("s_2", "b"), ("s_1", "c")] {
        let mut new = CreateRun::new(input);
        new.session_key = session.parse().unwrap();
        scoped.create_run(&new, None).await.unwrap();
    }
    let page = scoped.list_sessions(None, limit(1)).await.unwrap();
    let first = &page.items[0];
    assert_eq!((first.session_key.as_str(), first.run_count), ("s_1", 2));
    assert_eq!(first.last_input, "c");
    let cursor = page.next_cursor.unwrap().parse().unwrap();
    let page = scoped.list_sessions(Some(cursor), limit(1)).await.unwrap();
    assert_eq!((page.items[0].session_key.as_str(), page.next_cursor), ("s_2", None));
}

#[tokio::test]
async fn a_list_shows_the_beginning_of_long_texts_and_a_run_all_of_its_task() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let input = "字".repeat(200_000);
    let run_id = scoped.create_run(&CreateRun::new(&input), None).await.unwrap().run_id;
    let claim = claim_one(&store).await;
    let output = "é".repeat(700_000);
    let end = Some(End::Completed { output: output.clone() });
    let entry = Entry { events: vec![crate::warning("1")], end, ..Entry::default() };
    store.journal(&claim).commit(&entry).await.unwrap();

    let page = scoped.list_runs(&RunFilter::default(), None, limit(10)).await.unwrap();
    let listed = &page.items[0];
    assert_eq!((listed.input_bytes, listed.output_bytes), (600_000, Some(1_400_000)));
    assert_eq!(listed.input, "字".repeat(4096 / 3));
    assert_eq!(listed.output.as_deref(), Some(&*"é".repeat(2048)));

    let run = scoped.get_run(run_id).await.unwrap();
    assert_eq!((run.input, run.input_bytes), (input, 600_000));
    assert_eq!(run.output.as_deref(), Some(&*"é".repeat(512 * 1024)), "its first MiB");
    assert_eq!(run.output_bytes, Some(1_400_000));
}

#[tokio::test]
async fn a_page_of_runs_is_cut_at_its_bytes_and_all_pages_have_all_runs() {
    let store = fresh().await;
    let scoped = store.scoped(&ours());
    let mut new = CreateRun::new("x".repeat(4096));
    new.metadata = json!({"a": "b".repeat(16_000)}).as_object().cloned();
    let mut made = Vec::new();
    for _ in 0..300 {
        made.push(scoped.create_run(&new, None).await.unwrap().run_id);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = scoped.list_runs(&RunFilter::default(), cursor, limit(500)).await.unwrap();
        let bytes: usize = page.items.iter().map(|run| run.input.len() + 16_000).sum();
        assert!(bytes < 4_300_000, "{bytes}");
        seen.extend(page.items.iter().map(|run| run.run_id));
        pages += 1;
        let Some(next) = page.next_cursor else { break };
        cursor = Some(next.parse().unwrap());
    }
    assert_eq!(pages, 2);
    seen.reverse();
    assert_eq!(seen, made);
}
