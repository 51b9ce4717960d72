//! Workers that stop, die, or lose their lease.

use std::time::Duration;

use agent::settings::WorkerSettings;
use expect_test::expect;
use model::scripted::{Gate, Reply, Scripted};
use protocol::{
    id::RunId,
    message::Usage,
    run::{CreateRun, RunErrorCode, RunStatus},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use store::{
    journal::{Entry, NewCheckpoint},
    queue::SUSPECT_ATTEMPTS,
};
use uuid::Uuid;

use crate::World;

fn step(path: &str) -> Reply {
    Reply::call("read_file", json!({"path": path})).with_usage(Usage::new(1, 1, 0))
}

#[tokio::test]
async fn a_run_that_was_handed_back_goes_on_from_its_checkpoint() {
    let gate = Gate::new();
    let world = World::new(Scripted::in_order([
        step("a"),
        Reply::text("lost").wait(&gate),
        Reply::text("done").with_usage(Usage::new(1, 1, 0)),
    ]))
    .await;
    let first = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    gate.reached().await;
    world.reached(run_id, "step.completed").await;
    first.stop(Duration::ZERO).await;
    let run = world.store.scoped(&world.scope).get_run(run_id).await.unwrap();
    assert_eq!(run.status, RunStatus::Running);
    let second = world.worker();
    let run = world.ended(run_id).await;
    second.stop(crate::PATIENCE).await;
    assert_eq!((run.output.as_deref(), run.usage), (Some("done"), Usage::new(2, 2, 0)));
    let story = crate::told(&world.events(run_id).await);
    let resumed = story.find("resumed").unwrap();
    expect![[r#"
        resumed epoch 2 from 1 Released
        step 2
        recalled "x" []
        model "done" [] Stop tokens 2 attempts 1
        step 2 completed FinalAnswer
        completed "done" tokens 4
    "#]]
    .assert_eq(&story[resumed..]);
    // The finished step is neither asked for nor called again; its result is in the conversation.
    let last = world.script.requests().pop().unwrap();
    assert_eq!(last.messages.len(), 3);
}

#[tokio::test]
async fn a_run_whose_workers_die_again_and_again_is_given_up() {
    let world = World::new(Scripted::in_order([])).await;
    let run_id = world.create(&CreateRun::new("x")).await;
    for _ in 0..6 {
        let claims = world.store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap();
        assert_eq!(claims.len(), 1);
    }
    let worker = world.worker();
    let run = world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::MaxAttempts);
    assert!(world.script.requests().is_empty());
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing_more() {
    let gate = Gate::new();
    let world =
        World::new(Scripted::in_order([Reply::text("stale").wait(&gate), Reply::text("fresh")]))
            .await;
    // A lease that is never renewed in time: whoever looks next takes the run over.
    let slow = WorkerSettings { lease_ms: 200, renew_ms: 600_000, ..WorkerSettings::default() };
    let first = world.worker_with(slow);
    let run_id = world.create(&CreateRun::new("x")).await;
    gate.reached().await;
    let second = world.worker();
    world.asked(2).await;
    gate.open();
    let run = world.ended(run_id).await;
    first.stop(crate::PATIENCE).await;
    second.stop(crate::PATIENCE).await;
    assert_eq!(run.output.as_deref(), Some("fresh"));
    let story = crate::told(&world.events(run_id).await);
    assert!(!story.contains("stale"), "{story}");
    assert_eq!(story.matches("completed \"").count(), 1, "{story}");
}

#[tokio::test]
async fn many_runs_are_worked_on_at_once() {
    let gate = Gate::new();
    let opened = gate.clone();
    let world = World::new(Scripted::new(move |_| Reply::text("ok").wait(&opened))).await;
    let worker = world.worker();
    let mut ids = Vec::new();
    for n in 0..30 {
        let mut new = CreateRun::new("x");
        new.session_key = format!("s_{n}").parse().unwrap();
        ids.push(world.create(&new).await);
    }
    world.asked(30).await;
    gate.open();
    for id in ids {
        assert_eq!(world.ended(id).await.status, RunStatus::Completed);
    }
    worker.stop(crate::PATIENCE).await;
}

/// A run that no worker can open: its checkpoint is not what is written there. Its first worker is
/// gone.
async fn unreadable(world: &World) -> RunId {
    let run_id = world.create_in("s_unreadable").await;
    let claim = world.store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap().remove(0);
    let checkpoint = NewCheckpoint { step: 1, message_count: 0, state: json!("nonsense") };
    let entry = Entry { checkpoint: Some(checkpoint), ..Entry::default() };
    world.store.journal(&claim).commit(&entry).await.unwrap();
    run_id
}

#[tokio::test]
async fn a_run_that_no_worker_can_open_is_given_up() {
    let world = World::new(Scripted::in_order([])).await;
    let run_id = unreadable(&world).await;
    let brief = WorkerSettings { lease_ms: 200, renew_ms: 50, ..WorkerSettings::default() };
    let worker = world.worker_with(brief);
    let run = world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!(error.code, RunErrorCode::MaxAttempts, "{}", error.message);
    assert_eq!(error.message, "5 workers in a row were lost with this run");
}

#[tokio::test]
async fn a_run_that_no_worker_can_open_can_be_cancelled_and_runs_out_of_time() {
    let world = World::new(Scripted::in_order([])).await;
    let run_id = unreadable(&world).await;
    world.store.scoped(&world.scope).cancel_run(run_id, "user_a", None).await.unwrap();
    let worker = world.worker();
    assert_eq!(world.ended(run_id).await.status, RunStatus::Cancelled);
    worker.stop(crate::PATIENCE).await;

    let late = unreadable(&world).await;
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    sqlx::query("update runs set started_at = started_at - interval '1 hour' where run_id = $1")
        .bind(late.uuid())
        .execute(&mut admin)
        .await
        .unwrap();
    let worker = world.worker();
    let run = world.ended(late).await;
    worker.stop(crate::PATIENCE).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::TimeLimit);
}

#[tokio::test]
async fn a_suspect_is_worked_on_alone_until_it_completes_a_step() {
    let world =
        World::new(Scripted::in_order([step("a"), Reply::text("done"), Reply::text("done")])).await;
    let suspect = world.create_in("s_suspect").await;
    for _ in 0..SUSPECT_ATTEMPTS {
        world.store.claim(Uuid::now_v7(), 1, Duration::ZERO).await.unwrap();
    }
    let other = world.create_in("s_other").await;
    let worker = world.worker();
    for run_id in [suspect, other] {
        assert_eq!(world.ended(run_id).await.status, RunStatus::Completed);
    }
    worker.stop(crate::PATIENCE).await;
    let first_step = world.events(suspect).await.into_iter();
    let mut proven = first_step.filter(|event| event.fact.type_name() == "step.completed");
    let (proven, begun) = (proven.next().unwrap().ts, world.events(other).await[0].ts);
    assert!(proven < begun, "{begun} is before {proven}");
}
