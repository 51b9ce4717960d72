//! What ends a run that would not end by itself.

use model::{
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    message::Usage,
    run::{CreateRun, LlmConfig, RunErrorCode, RunLimits, RunStatus},
};
use serde_json::json;

use crate::World;

/// The code with which a run ends that a looping model works on.
async fn check(reply: Reply, limits: RunLimits, want: RunErrorCode, words: &str) {
    let world = World::new(Scripted::new(move |_| reply.clone())).await;
    let worker = world.worker();
    let mut new = CreateRun::new("x");
    new.limits = Some(limits);
    let run = world.ended(world.create(&new).await).await;
    worker.stop(crate::PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!((run.status, error.code), (RunStatus::Failed, want), "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
    let last = world.events(run.run_id).await.pop().unwrap();
    assert_eq!(last.fact.type_name(), "run.failed");
}

fn looping() -> Reply {
    Reply::call("read_file", json!({"path": "a"})).with_usage(Usage::new(60, 40, 0))
}

#[tokio::test]
async fn steps() {
    let limits = RunLimits { max_steps: Some(3), ..RunLimits::default() };
    check(looping(), limits, RunErrorCode::StepLimit, "`max_steps` = 3").await;
}

#[tokio::test]
async fn tokens() {
    let limits = RunLimits { max_tokens: Some(250), ..RunLimits::default() };
    check(looping(), limits, RunErrorCode::TokenLimit, "300 are used").await;
}

#[tokio::test]
async fn time() {
    let limits = RunLimits { max_wall_s: Some(1), ..RunLimits::default() };
    let reply = Reply::text("slow").wait(&Gate::new());
    check(reply, limits, RunErrorCode::TimeLimit, "`max_wall_s` = 1").await;
}

#[tokio::test]
async fn no_progress() {
    check(looping(), RunLimits::default(), RunErrorCode::NoProgress, "same").await;
}

#[tokio::test]
async fn only_impossible_calls() {
    let reply = Reply::call("nothing_like_it", json!({}));
    check(reply, RunLimits::default(), RunErrorCode::ModelError, "no possible call").await;
}

#[tokio::test]
async fn a_model_that_refuses_the_key() {
    let reply = Reply::error(ModelError::Auth);
    check(reply, RunLimits::default(), RunErrorCode::ModelAuth, "scripted/script").await;
}

#[tokio::test]
async fn a_model_that_never_finishes_its_answer() {
    let reply = Reply::truncated("half an ans");
    check(reply, RunLimits::default(), RunErrorCode::ModelError, "broke off").await;
}

#[tokio::test]
async fn a_model_that_is_not_configured() {
    let world = World::new(Scripted::in_order([])).await;
    let worker = world.worker();
    let mut new = CreateRun::new("x");
    new.llm_config = Some(LlmConfig { provider: Some("nowhere".into()), ..LlmConfig::default() });
    let run = world.ended(world.create(&new).await).await;
    worker.stop(crate::PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!(error.code, RunErrorCode::ModelError);
    assert!(error.message.contains("nowhere"), "{}", error.message);
    let story = crate::told(&world.events(run.run_id).await);
    assert!(story.starts_with("started \"x\" nowhere/default\nfailed"), "{story}");
}
