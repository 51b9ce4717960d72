//! What a worker writes, and when it is refused.

use std::time::Duration;

use protocol::{
    event::Fact,
    id::CallId,
    message::{Message, Usage},
    page::PageLimit,
    run::{RunError, RunErrorCode, RunStatus},
    tool::{Effect, Outcome},
};
use serde_json::{Value, json};
use store::journal::{End, Entry, JournalError, NewCheckpoint, NewEvent, Restored, Totals};
use uuid::Uuid;

use crate::{claim_one, create, entry, event, fresh, ours, warning};

/// More than any conversation here has.
#[tokio::test]
async fn what_is_written_together_is_read_together() {
    let store = fresh().await;
    create(&store).await;
    let claim = claim_one(&store).await;
    let mut journal = store.journal(&claim);
    journal
        .commit(&Entry {
            events: vec![warning("一"), warning("two")],
            messages: vec![Message::User { content: "q".into() }],
            checkpoint: Some(NewCheckpoint { step: 1, message_count: 1, state: json!({"a": 1}) }),
            totals: Some(Totals {
                steps: 1,
                tool_calls: 2,
                usage: Usage::new(10, 5, 3),
                cost_usd: 0.25,
            }),
            model: Some("demo/instant".into()),
            ..Entry::default()
        })
        .await
        .unwrap();
    assert_eq!(journal.last_seq(), 2);
    let run = store.scoped(&ours()).get_run(claim.run_id).await.unwrap();
    assert_eq!((run.event_count, run.step_count, run.tool_call_count), (2, 1, 2));
    assert_eq!((run.usage, run.cost_usd), (Usage::new(10, 5, 3), 0.25));
    assert_eq!(run.model.as_deref(), Some("demo/instant"));
    let restored = journal.restore(1, |_| 0).await.unwrap();
    assert_eq!((restored.step, restored.state), (1, json!({"a": 1})));
    assert_eq!(restored.first, [Message::User { content: "q".into() }]);
    assert_eq!((restored.recent.len(), restored.messages_written), (0, 1));
}

#[tokio::test]
async fn a_conversation_is_read_back_from_where_its_working_state_says() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let claim = claim_one(&store).await;
    let mut journal = store.journal(&claim);
    let said = |content: String| Message::Assistant {
        content,
        tool_calls: vec![],
        replay: None,
        sent: None,
    };
    let long = |step: u32| said(format!("{step}{}", "x".repeat(1_000)));
    journal
        .commit(&Entry {
            messages: vec![Message::User { content: "task".into() }],
            ..Entry::default()
        })
        .await
        .unwrap();
    for step in 1..=20 {
        let checkpoint =
            NewCheckpoint { step, message_count: step + 1, state: json!({"from": 18}) };
        let entry = Entry {
            messages: vec![long(step)],
            messages_at: step,
            checkpoint: Some(checkpoint),
            ..Entry::default()
        };
        journal.commit(&entry).await.unwrap();
    }
    let from = |state: &Value| u32::try_from(state["from"].as_u64().unwrap()).unwrap();
    let restored = journal.restore(1, from).await.unwrap();
    assert_eq!(restored.first, [Message::User { content: "task".into() }]);
    assert_eq!((restored.recent, restored.recent_from), ([18, 19, 20].map(long).to_vec(), 18));
    assert_eq!((restored.has_open_step, restored.messages_written), (false, 21));

    // And what a step that is open has added.
    let entry = Entry { messages: vec![long(21), long(22)], messages_at: 21, ..Entry::default() };
    journal.commit(&entry).await.unwrap();
    let restored = journal.restore(1, from).await.unwrap();
    assert_eq!(restored.recent, [18, 19, 20, 21, 22].map(long));
    assert_eq!((restored.has_open_step, restored.messages_written), (true, 23));

    // What was written is counted, and the next claim knows it.
    assert!((22_000..30_000).contains(&journal.written_bytes()), "{}", journal.written_bytes());
    store.release(&[claim.lease()]).await.unwrap();
    let next = claim_one(&store).await;
    assert_eq!((next.run_id, next.written_bytes), (run_id, journal.written_bytes()));
}

#[tokio::test]
async fn events_are_numbered_without_gaps_and_paged() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let claim = claim_one(&store).await;
    let mut journal = store.journal(&claim);
    for batch in [3, 1, 4] {
        journal
            .commit(&entry((0..batch).map(|n| warning(&n.to_string())).collect()))
            .await
            .unwrap();
    }
    let scoped = store.scoped(&ours());
    let (mut seen, mut cursor) = (Vec::new(), 0);
    loop {
        let limit = PageLimit::try_from(3).unwrap();
        let page = scoped.list_events(run_id, cursor, limit, &[]).await.unwrap();
        seen.extend(page.items.iter().map(|event| event.seq));
        let Some(next) = page.next_cursor else { break };
        cursor = next.parse().unwrap();
    }
    assert_eq!(seen, (1..=8).collect::<Vec<_>>());
    let none =
        scoped.list_events(run_id, 0, PageLimit::default(), &["llm.called".into()]).await.unwrap();
    assert!(none.items.is_empty());
}

#[tokio::test]
async fn a_stale_writer_is_refused_and_leaves_nothing() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let old = store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap().remove(0);
    let mut zombie = store.journal(&old);
    let new = claim_one(&store).await;
    let mut writer = store.journal(&new);
    let everything = Entry {
        events: vec![warning("late")],
        messages: vec![Message::User { content: "late".into() }],
        checkpoint: Some(NewCheckpoint { step: 1, message_count: 1, state: json!({}) }),
        end: Some(End::Completed { output: "late".into() }),
        ..Entry::default()
    };
    for _ in 0..2 {
        assert!(matches!(zombie.commit(&everything).await, Err(JournalError::LeaseLost)));
    }
    let run = store.scoped(&ours()).get_run(run_id).await.unwrap();
    assert_eq!((run.status, run.event_count), (RunStatus::Running, 0));
    let nothing = Restored { recent_from: 1, ..Restored::default() };
    assert_eq!(writer.restore(1, |_| 0).await.unwrap(), nothing);
    writer.commit(&entry(vec![warning("in time")])).await.unwrap();
    assert_eq!(store.queue_depth().await.unwrap().leased, 1);
}

#[tokio::test]
async fn after_a_request_to_stop_only_the_end_is_written() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let mut journal = store.journal(&claim_one(&store).await);
    let answer = store.scoped(&ours()).cancel_run(run_id, "user_a", Some("no")).await.unwrap();
    assert_eq!(answer.status, RunStatus::Running);
    assert!(matches!(
        journal.commit(&entry(vec![warning("more")])).await,
        Err(JournalError::CancelRequested)
    ));
    let late = End::Completed { output: "late".into() };
    let late = Entry { end: Some(late), ..entry(vec![warning("late")]) };
    assert!(matches!(journal.commit(&late).await, Err(JournalError::CancelRequested)));
    assert_eq!(
        journal.cancel_request().await.unwrap(),
        Some(("user_a".to_owned(), Some("no".to_owned())))
    );
    journal
        .commit(&Entry { end: Some(End::Cancelled), ..entry(vec![warning("end")]) })
        .await
        .unwrap();
    let run = store.scoped(&ours()).get_run(run_id).await.unwrap();
    assert_eq!((run.status, run.event_count), (RunStatus::Cancelled, 1));
}

#[tokio::test]
async fn nothing_follows_the_end() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let mut journal = store.journal(&claim_one(&store).await);
    let error = RunError { code: RunErrorCode::StepLimit, message: "步".into() };
    journal
        .commit(&Entry {
            end: Some(End::Failed { error: error.clone() }),
            ..entry(vec![event(Fact::RunFailed { error: error.clone(), duration_ms: 1 })])
        })
        .await
        .unwrap();
    assert!(matches!(
        journal.commit(&entry(vec![warning("after")])).await,
        Err(JournalError::LeaseLost)
    ));
    let run = store.scoped(&ours()).get_run(run_id).await.unwrap();
    assert_eq!((run.status, run.error), (RunStatus::Failed, Some(error)));
    assert!(run.ended_at.is_some() && run.duration_ms.is_some());
    let depth = store.queue_depth().await.unwrap();
    assert_eq!((depth.ready, depth.leased), (0, 0));
}

#[tokio::test]
async fn what_the_database_cannot_keep_does_not_stop_a_run() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let mut journal = store.journal(&claim_one(&store).await);
    let nasty = "a\0b 👨‍👩‍👧 \u{202e}rtl 1e131071 \\u0000";
    journal
        .commit(&Entry {
            events: vec![warning(nasty)],
            messages: vec![Message::User { content: nasty.into() }],
            end: Some(End::Completed { output: nasty.into() }),
            ..Entry::default()
        })
        .await
        .unwrap();
    let run = store.scoped(&ours()).get_run(run_id).await.unwrap();
    assert_eq!(run.output.as_deref(), Some(nasty.replace('\0', "\u{fffd}").as_str()));
}

#[tokio::test]
async fn the_ledger_follows_the_events_of_a_call() {
    let store = fresh().await;
    let run_id = create(&store).await;
    let mut journal = store.journal(&claim_one(&store).await);
    let call = |n| CallId::derive(run_id, 1, n, "t", "{}");
    let called = |n, effect| NewEvent {
        step: Some(1),
        ..event(Fact::ToolCalled {
            tool_call_id: call(n),
            tool: "t".into(),
            args: json!({}),
            effect,
        })
    };
    let answered = |n, outcome| {
        event(Fact::ToolResult {
            tool_call_id: call(n),
            tool: "t".into(),
            result: json!("r"),
            is_error: false,
            outcome,
            truncated: false,
            duration_ms: 1,
        })
    };
    // Intended and settled at once; settled later; left open.
    journal
        .commit(&entry(vec![
            called(0, Effect::ReadOnly),
            answered(0, Outcome::Error),
            called(1, Effect::Idempotent),
        ]))
        .await
        .unwrap();
    journal
        .commit(&entry(vec![answered(1, Outcome::Ok), called(2, Effect::AtMostOnce)]))
        .await
        .unwrap();
    let calls = journal.restore(1, |_| 0).await.unwrap().calls;
    let known = |n: u32| (calls[&call(n)].effect, calls[&call(n)].settled);
    assert_eq!(known(0), (Effect::ReadOnly, true));
    assert_eq!(known(1), (Effect::Idempotent, true));
    assert_eq!(known(2), (Effect::AtMostOnce, false));
}
