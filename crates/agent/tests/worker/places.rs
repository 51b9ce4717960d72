//! Who has how many of a worker's places.

use agent::settings::WorkerSettings;
use model::scripted::{Gate, Reply, Scripted};
use protocol::{message::Message, run::CreateRun, scope::Scope};

use crate::{PATIENCE, World};

#[tokio::test]
async fn who_comes_next_finds_a_place_and_who_waits_has_the_next_that_is_freed() {
    let (first, rest) = (Gate::new(), Gate::new());
    let script = {
        let (first, rest) = (first.clone(), rest.clone());
        Scripted::new(move |request| {
            let is_first = |message: &Message| matches!(message, Message::User { content } if content == "first");
            let gate = if request.messages.iter().any(is_first) { &first } else { &rest };
            Reply::text("a").wait(gate).chunk("b")
        })
    };
    let world = World::new(script).await;
    let mut ours = Vec::new();
    for n in 0..9 {
        let session_key = format!("s_{n}").parse().unwrap();
        let new = CreateRun::new(if n == 0 { "first" } else { "x" });
        ours.push(world.create(&CreateRun { session_key, ..new }).await);
    }
    // It does not look by itself before the test is over.
    let settings =
        WorkerSettings { concurrency: Some(8), poll_ms: 1_000_000, ..WorkerSettings::default() };
    let worker = world.worker_with(settings);
    world.asked(7).await;
    first.open();
    world.asked(8).await;
    let other = Scope { org_id: "org_b".parse().unwrap(), ..world.scope.clone() };
    world.store.scoped(&other).create_run(&CreateRun::new("x"), None).await.unwrap();
    world.asked(9).await;
    assert_eq!(worker.running(), 8);
    rest.open();
    for run in ours {
        world.ended(run).await;
    }
    worker.stop(PATIENCE).await;
}
