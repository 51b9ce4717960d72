//! What counts as an answer, seen from a run: whole, cut, empty, refused.

use std::{collections::BTreeMap, sync::Arc};

use agent::settings::AfterRun;
use expect_test::expect;
use mcp::{config::ServerConfig, process::Launcher, servers::Servers};
use model::scripted::{Reply, Scripted};
use protocol::{
    event::Fact,
    message::{FinishReason, Message, Usage},
    run::{CreateRun, RunErrorCode, RunStatus},
};
use serde_json::json;

use crate::{PATIENCE, World, told};

fn length(reply: Reply) -> Reply {
    counted(reply).with_finish_reason(FinishReason::Length)
}

/// What a prompt is estimated at depends on the day that it names.
fn counted(reply: Reply) -> Reply {
    reply.with_usage(Usage::new(7, 2, 0))
}

#[tokio::test]
async fn an_empty_answer_is_asked_for_again() {
    let script = [counted(Reply::text("")), Reply::text(" \n"), counted(Reply::text("here"))];
    let world = World::new(Scripted::in_order(script)).await;
    let story = world.story(&CreateRun::new("x")).await;
    for attempt in [1, 2] {
        let warning = format!(
            "warning model_attempt_failed attempt {attempt} failed: the model ended its answer \
             without saying anything"
        );
        assert!(story.contains(&warning), "{story}");
    }
    // The empty one that was counted is paid for, too; what nobody counted is not guessed at.
    assert!(story.contains("model \"here\" [] Stop tokens 18 attempts 3\n"), "{story}");
    assert!(story.ends_with("completed \"here\" tokens 18\n"), "{story}");
}

#[tokio::test]
async fn a_model_that_never_says_anything_fails_the_run() {
    let world = World::new(Scripted::new(|_| counted(Reply::text("")))).await;
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!(error.code, RunErrorCode::EmptyAnswer);
    assert!(error.message.contains("without saying anything"), "{}", error.message);
    assert_eq!(world.script.requests().len(), 4);
    assert_eq!(run.usage.total_tokens, 36, "all four are paid for");
}

#[tokio::test]
async fn a_usage_that_the_database_refuses_ends_the_run_and_is_not_asked_for_again() {
    let beyond = Usage::new(u64::MAX - 9, 2, 0);
    let world = World::new(Scripted::new(move |_| Reply::text("hi").with_usage(beyond))).await;
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(PATIENCE).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::Internal);
    assert_eq!(world.script.requests().len(), 1);
}

#[tokio::test]
async fn a_refusal_fails_the_run_at_once_with_its_words() {
    let reply = || Reply::default().with_finish_reason(FinishReason::ContentFilter);
    let world = World::new(Scripted::new(move |_| reply())).await;
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!(error.code, RunErrorCode::Refused);
    assert!(error.message.contains("by the script"), "{}", error.message);
    assert_eq!(world.script.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_that_was_cut_says_so_and_is_not_remembered() {
    let script = [length(Reply::text("My favourite colour is teal, wai"))];
    let mut world = World::new(Scripted::in_order(script)).await;
    world.after_run = AfterRun::Extractive;
    let worker = world.worker();
    let new = CreateRun {
        llm_config: Some(serde_json::from_value(json!({"max_tokens": 9})).unwrap()),
        ..CreateRun::new("What is my favourite colour?")
    };
    let run = world.ended(world.create(&new).await).await;
    worker.stop(PATIENCE).await;
    assert_eq!(run.status, RunStatus::Completed);
    let events = world.events(run.run_id).await;
    expect![[r#"
        started "What is my favourite colour?" scripted/script
        step 1
        recalled "What is my favourite colour?" []
        warning answer_cut scripted/script: the answer was cut at `max_tokens` = 9
        model "My favourite colour is teal, wai" [] Length tokens 9 attempts 1
        step 1 completed FinalAnswer
        completed "My favourite colour is teal, wai" tokens 9
    "#]]
    .assert_eq(&told(&events));
    assert!(matches!(events.last().unwrap().fact, Fact::RunCompleted { output_cut: true, .. }));
    let waiting = world.store.claim_to_remember(10, PATIENCE).await.unwrap();
    assert_eq!(waiting.len(), 0);
}

#[tokio::test]
async fn calls_of_an_answer_that_was_cut_are_not_made_and_the_model_is_told() {
    let script = [
        length(Reply::text("I write it down.").and_call("memory_write", json!(""))),
        length(Reply::call("memory_write", json!("{\"type\": \"core\", \"te"))),
        counted(Reply::text("done")),
    ];
    let world = World::new(Scripted::in_order(script)).await;
    expect![[r#"
        started "x" scripted/script
        step 1
        recalled "x" []
        warning answer_cut scripted/script: the answer was cut at the model's own limit on tokens; its call of `memory_write` was not made
        model "I write it down." [] Length tokens 9 attempts 1
        step 1 completed ToolCalls
        step 2
        recalled "x\nI write it down." []
        warning answer_cut scripted/script: the answer was cut at the model's own limit on tokens; its call of `memory_write` was not made
        model "" [] Length tokens 9 attempts 1
        step 2 completed ToolCalls
        step 3
        recalled "x\nI write it down." []
        model "done" [] Stop tokens 9 attempts 1
        step 3 completed FinalAnswer
        completed "done" tokens 27
    "#]].assert_eq(&world.story(&CreateRun::new("x")).await);
    let requests = world.script.requests();
    let [.., Message::Note { content, .. }] = &requests[1].messages[..] else { panic!() };
    assert!(content.contains("its call of `memory_write` was not made"), "{content}");
    let is_empty = |message: &Message| matches!(message, Message::Assistant { content, .. } if content.is_empty());
    assert!(!requests.iter().flat_map(|request| &request.messages).any(is_empty));
}

#[tokio::test]
async fn an_image_beside_a_call_is_named_and_the_call_is_made() {
    let args = json!({"text": "The cat is grey.", "type": "semantic"});
    let script = [
        counted(Reply::call("memory_write", args)).with_left_out("an image"),
        counted(Reply::text("A cat.")).with_left_out("an image"),
    ];
    let world = World::new(Scripted::in_order(script)).await;
    let story = world.story(&CreateRun::new("x")).await;
    let warning =
        "warning answer_cut scripted/script: the answer holds an image, which is not kept\n";
    assert_eq!(story.matches(warning).count(), 2, "{story}");
    assert!(story.contains("call memory_write"), "{story}");
    assert!(story.ends_with("completed \"A cat.\" tokens 18\n"), "{story}");
}

#[tokio::test]
async fn answers_that_are_always_cut_end_the_run() {
    let world =
        World::new(Scripted::new(|_| length(Reply::call("memory_write", json!("{\"te"))))).await;
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(PATIENCE).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::ModelError);
    assert_eq!(world.script.requests().len(), 3);
}

#[tokio::test]
async fn a_question_without_an_answer_stays_in_its_session() {
    let script = Scripted::new(|request| match request.messages.last() {
        Some(Message::User { content }) if content == "first" => {
            Reply::default().with_finish_reason(FinishReason::ContentFilter)
        }
        _ => Reply::text("well"),
    });
    let world = World::new(script).await;
    let worker = world.worker();
    for input in ["first", "second", "third"] {
        world.ended(world.create(&CreateRun::new(input)).await).await;
    }
    worker.stop(PATIENCE).await;
    let said: Vec<_> = world.script.requests()[2]
        .messages
        .iter()
        .map(|message| match message {
            Message::User { content } => format!("user {content}"),
            Message::Assistant { content, .. } => format!("assistant {content}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(said, ["user first", "user second", "assistant well", "user third"]);
}

#[tokio::test]
async fn a_tool_that_cannot_be_used_is_named_once() {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python");
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/../mcp/tests/hostile/server.py");
    let mut config = ServerConfig::new(python, ["-I", "-S", server, "bad_schema"]);
    config.env.insert("ALIVE".into(), "".into());
    let configs = BTreeMap::from([("odd".to_owned(), config)]);
    let script = [Reply::call("memory_search", json!({"query": "x"})), Reply::text("done")];
    let mut world = World::new(Scripted::in_order(script)).await;
    world.mcp = Arc::new(Servers::start(configs, Launcher::plain(), []).await);
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(PATIENCE).await;
    let warnings: Vec<_> = world
        .events(run.run_id)
        .await
        .into_iter()
        .filter_map(|event| match event.fact {
            Fact::RunWarning { code, message, .. } => Some(format!("{code} {message}")),
            _ => None,
        })
        .collect();
    expect![[r#"
        tool_left_out the tool `odd__remote` is left out: its input schema refers to `https://evil.example/s.json`
        tool_left_out the tool `odd__list` is left out: its input schema is not of type `object`
        tool_left_out the tool `odd__bare` is left out: it has no input schema
        tool_left_out the tool `odd__null` is left out: it has no input schema"#]].assert_eq(&warnings.join("\n"));
    world.mcp.stop().await;
}
