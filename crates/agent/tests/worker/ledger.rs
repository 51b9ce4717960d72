//! What the next worker does with calls that the last one left open.

use std::time::Duration;

use expect_test::expect;
use model::scripted::{Reply, Scripted};
use protocol::{
    event::Fact,
    id::{CallId, RunId, SpanId},
    memory::{MemoryFilters, MemoryType},
    message::{FinishReason, Message, ToolCall, Usage, canonical_json},
    page::PageLimit,
    run::{CreateRun, RunStatus},
    tool::{Effect, Outcome},
};
use serde_json::{Value, json};
use store::journal::{Entry, NewEvent};
use uuid::Uuid;

use crate::World;

/// A run whose first step got this answer and intended the first of its calls; then its worker was
/// gone. The first call's result was recorded only if `settled`.
async fn abandoned(world: &World, calls: &[(&str, Value, Effect)], settled: Option<&str>) -> RunId {
    let run_id = world.create(&CreateRun::new("x")).await;
    let claim = world.store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap().remove(0);
    let calls: Vec<_> = calls
        .iter()
        .zip(0..)
        .map(|((tool, args, effect), index)| {
            let id = CallId::derive(run_id, 1, index, tool, &canonical_json(args));
            (ToolCall { id, tool: (*tool).into(), args: args.clone() }, *effect)
        })
        .collect();
    let asked: Vec<_> = calls.iter().map(|(call, _)| call.clone()).collect();
    let event = |fact, step| NewEvent {
        fact,
        step,
        span_id: SpanId::from_bits(1),
        parent_span_id: None,
        contains_secrets: false,
    };
    let (first, effect) = &calls[0];
    let mut entry = Entry {
        events: vec![
            event(
                Fact::RunStarted {
                    input: "x".into(),
                    model: "scripted/script".into(),
                    limits: Default::default(),
                    epoch: 1,
                    parent_run_id: None,
                    forked_from_step: None,
                },
                None,
            ),
            event(Fact::StepStarted { step: 1 }, Some(1)),
            event(
                Fact::LlmCalled {
                    provider: "scripted".into(),
                    model: "script".into(),
                    content: String::new(),
                    tool_calls: asked.clone(),
                    finish_reason: FinishReason::ToolCalls,
                    usage: Usage::default(),
                    cost_usd: 0.0,
                    time_to_first_token_ms: 0,
                    duration_ms: 0,
                    attempts: 1,
                },
                Some(1),
            ),
            event(
                Fact::ToolCalled {
                    tool_call_id: first.id,
                    tool: first.tool.clone(),
                    args: first.args.clone(),
                    effect: *effect,
                },
                Some(1),
            ),
        ],
        messages: vec![
            Message::System {
                content: "S".into(),
                core: Vec::new(),
                folded: None,
                turns: Vec::new(),
            },
            Message::User { content: "x".into() },
            Message::Assistant {
                content: String::new(),
                tool_calls: asked,
                replay: None,
                sent: None,
            },
        ],
        ..Entry::default()
    };
    if let Some(result) = settled {
        entry.messages.push(Message::Tool {
            tool_call_id: first.id,
            tool: first.tool.clone(),
            content: result.into(),
            is_error: false,
        });
        entry.events.push(event(
            Fact::ToolResult {
                tool_call_id: first.id,
                tool: first.tool.clone(),
                result: result.into(),
                is_error: false,
                outcome: Outcome::Ok,
                truncated: false,
                duration_ms: 0,
            },
            Some(1),
        ));
    }
    world.store.journal(&claim).commit(&entry).await.unwrap();
    run_id
}

/// What is written from the takeover on.
async fn taken_over(world: &World, run_id: RunId) -> String {
    let worker = world.worker();
    world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    let story = crate::told(&world.events(run_id).await);
    let from = story.find("resumed").unwrap();
    story[from..].to_owned()
}

fn done() -> Scripted {
    Scripted::in_order([Reply::text("done").with_usage(Usage::new(1, 1, 0))])
}

#[tokio::test]
async fn an_open_call_that_is_at_most_once_is_unknown_and_never_sent_again() {
    let world = World::new(done()).await;
    // The tool exists and would answer: it is its class that forbids a second call.
    let call = ("read_file", json!({"path": "a"}), Effect::AtMostOnce);
    let run_id = abandoned(&world, &[call], None).await;
    expect![[r#"
        resumed epoch 2 from 0 WorkerLost
        result read_file Unknown "The process that made this call is gone. Whether the call took effect is unknown: do not assume either, and do not repeat it without finding out."
        step 1 completed ToolCalls
        step 2
        recalled "x" []
        model "done" [] Stop tokens 2 attempts 1
        step 2 completed FinalAnswer
        completed "done" tokens 2
    "#]]
    .assert_eq(&taken_over(&world, run_id).await);
    let requests = world.script.requests();
    assert_eq!(requests.len(), 1, "a recorded answer is not asked for again");
    let Some(Message::Tool { content, .. }) = requests[0].messages.last() else { panic!() };
    assert!(content.contains("unknown"), "{content}");
}

#[tokio::test]
async fn an_open_call_that_is_idempotent_is_sent_again_under_its_id() {
    let world = World::new(done()).await;
    let args = json!({"type": "archival", "text": "门的密码是 4711"});
    let call = ("memory_write", args, Effect::Idempotent);
    let run_id = abandoned(&world, &[call], None).await;
    let story = taken_over(&world, run_id).await;
    assert!(story.contains("result memory_write Ok"), "{story}");
    assert!(!story.contains("call memory_write"), "its intent is written once: {story}");
    let filter = MemoryFilters { kinds: Some(vec![MemoryType::Archival]), ..Default::default() };
    let memories =
        world.memory.list(&world.scope, &filter, None, PageLimit::default()).await.unwrap();
    assert_eq!(memories.items.len(), 1);
}

#[tokio::test]
async fn a_settled_call_is_not_made_again_and_the_next_one_is() {
    let world = World::new(done()).await;
    let calls = [
        ("read_file", json!({"path": "a"}), Effect::AtMostOnce),
        ("memory_get", json!({"id": "mem_b"}), Effect::ReadOnly),
    ];
    let run_id = abandoned(&world, &calls, Some("recorded")).await;
    let story = taken_over(&world, run_id).await;
    assert!(!story.contains("read_file"), "{story}");
    assert!(story.contains("call memory_get") && story.contains("result memory_get"), "{story}");
    let asked = &world.script.requests()[0].messages;
    assert!(
        asked.iter().any(
            |message| matches!(message, Message::Tool { content, .. } if content == "recorded")
        )
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_or_given_up_says_what_is_unknown() {
    let world = World::new(Scripted::in_order([])).await;
    let call = ("read_file", json!({"path": "a"}), Effect::AtMostOnce);
    let stopped = abandoned(&world, std::slice::from_ref(&call), None).await;
    world.store.scoped(&world.scope).cancel_run(stopped, "user_a", None).await.unwrap();
    let story = taken_over_without_resume(&world, stopped).await;
    assert!(story.ends_with("cancelled by user_a None stopped 0 unknown 1\n"), "{story}");

    let given_up = abandoned(&world, &[call], None).await;
    for _ in 0..6 {
        world.store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap();
    }
    let story = taken_over_without_resume(&world, given_up).await;
    assert!(story.contains("result read_file Unknown"), "{story}");
    let run = world.store.scoped(&world.scope).get_run(given_up).await.unwrap();
    assert_eq!(run.status, RunStatus::Failed);
}

async fn taken_over_without_resume(world: &World, run_id: RunId) -> String {
    let worker = world.worker();
    world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    crate::told(&world.events(run_id).await)
}
