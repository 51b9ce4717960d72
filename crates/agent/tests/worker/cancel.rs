//! Requests to stop.

use model::scripted::{Gate, Reply, Scripted};
use protocol::run::{CreateRun, RunStatus};

use crate::World;

#[tokio::test]
async fn a_running_run_stops_and_its_model_connection_closes() {
    let gate = Gate::new();
    let world = World::new(Scripted::in_order([Reply::text("a").wait(&gate).chunk("never")])).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    gate.reached().await;
    let scoped = world.store.scoped(&world.scope);
    let answer = scoped.cancel_run(run_id, "user_a", Some("changed my mind")).await.unwrap();
    assert_eq!(answer.status, RunStatus::Running);
    let run = world.ended(run_id).await;
    gate.abandoned().await;
    worker.stop(crate::PATIENCE).await;
    assert_eq!((run.status, run.output), (RunStatus::Cancelled, None));
    let story = crate::told(&world.events(run_id).await);
    let last = story.lines().last().unwrap();
    assert_eq!(last, "cancelled by user_a Some(\"changed my mind\") stopped 0 unknown 0");
    assert!(!story.contains("model "), "{story}");
}

#[tokio::test]
async fn a_run_that_was_asked_to_stop_while_nobody_held_it_is_ended_by_the_next_worker() {
    let world = World::new(Scripted::in_order([])).await;
    let run_id = world.create(&CreateRun::new("x")).await;
    let lease = std::time::Duration::ZERO;
    world.store.claim(uuid::Uuid::now_v7(), 1, lease).await.unwrap();
    world.store.scoped(&world.scope).cancel_run(run_id, "user_a", None).await.unwrap();
    let worker = world.worker();
    assert_eq!(world.ended(run_id).await.status, RunStatus::Cancelled);
    worker.stop(crate::PATIENCE).await;
    assert!(world.script.requests().is_empty());
}
