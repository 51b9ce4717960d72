//! What day it is: the model learns it once and for all its steps, and whoever goes on with the run
//! says the same.

use std::time::Duration;

use model::scripted::{Gate, Reply, Scripted};
use protocol::{
    event::Fact,
    memory::{MemoryType, WriteMemory},
    run::CreateRun,
    time::{Timestamp, Zone},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::{PATIENCE, World};

fn zone(name: &str) -> Option<Zone> {
    Some(name.parse().unwrap())
}

fn today(zone: Option<Zone>, at: Timestamp) -> String {
    let zone = zone.unwrap();
    format!("\n\nToday is {} (time zone {zone}).", zone.at(at).strftime("%A, %Y-%m-%d"))
}

async fn written(world: &World, day: &str, text: &str) {
    let occurred_at = Some(day.to_owned().try_into().unwrap());
    let memory = WriteMemory { occurred_at, ..WriteMemory::new(MemoryType::Archival, text) };
    world.memory.write(&world.scope, &memory, None).await.unwrap();
}

#[tokio::test]
async fn a_resumed_run_has_the_day_on_which_it_was_asked_for() {
    let gate = Gate::new();
    let look = Reply::call("memory_search", json!({"query": "What did we eat yesterday?"}));
    let world = World::new(Scripted::in_order([
        look,
        Reply::text("lost").wait(&gate),
        Reply::text("done"),
    ]))
    .await;
    written(&world, "2026-03-02", "We ate dumplings.").await;
    written(&world, "2026-03-03", "We ate noodles.").await;
    // It waited for a worker since 23:30 of the third in New York, which is the fourth in UTC.
    let asked = CreateRun { timezone: zone("America/New_York"), ..CreateRun::new("Where to?") };
    let run_id = world.create(&asked).await;
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    let moved = "update runs set created_at = '2026-03-04T04:30:00Z' where run_id = $1";
    sqlx::query(moved).bind(run_id.uuid()).execute(&mut admin).await.unwrap();
    let first = world.worker();
    gate.reached().await;
    world.reached(run_id, "step.completed").await;
    first.stop(Duration::ZERO).await;
    let second = world.worker();
    world.ended(run_id).await;
    second.stop(PATIENCE).await;
    let prompts: Vec<_> = world.script.requests().into_iter().map(|asked| asked.system).collect();
    assert_eq!(prompts.len(), 3);
    let today = "\n\nToday is Tuesday, 2026-03-03 (time zone America/New_York).";
    assert!(prompts.iter().all(|prompt| prompt.contains(today)), "{prompts:?}");
    assert_eq!(prompts[1], prompts[2]);
    // Yesterday was the second, and each hit says of which day it is.
    let events = world.events(run_id).await;
    let result = events.into_iter().find_map(|event| match event.fact {
        Fact::ToolResult { result, .. } => Some(result),
        _ => None,
    });
    let result = result.unwrap();
    assert_eq!(result[0]["occurred_at"], "2026-03-02", "{result}");
    assert!(result[0]["created_at"].is_string(), "{result}");
}

#[tokio::test]
async fn the_zone_is_the_requests_then_the_agents_then_the_operators() {
    let replies = || Scripted::new(|_| Reply::text("done"));
    let mut world = World::new(replies()).await;
    let check = async |world: &World, asked: Option<Zone>, want: &str| {
        let run_id = world.create(&CreateRun { timezone: asked, ..CreateRun::new("x") }).await;
        let worker = world.worker();
        let run = world.ended(run_id).await;
        worker.stop(PATIENCE).await;
        let system = world.script.requests().pop().unwrap().system;
        let today = today(zone(want), run.created_at);
        assert!(system.contains(&today), "{want}: {system}");
    };
    check(&world, None, "UTC").await;
    check(&world, zone("Asia/Shanghai"), "Asia/Shanghai").await;
    world.agent.timezone = zone("Pacific/Kiritimati");
    check(&world, None, "Pacific/Kiritimati").await;
    check(&world, zone("Pacific/Pago_Pago"), "Pacific/Pago_Pago").await;
}

#[tokio::test]
async fn memories_stand_in_the_prompt_with_their_dates() {
    let world = World::new(Scripted::in_order([Reply::text("done")])).await;
    written(&world, "2026-03-02", "The plumber comes tomorrow at 9.").await;
    world.story(&CreateRun::new("When does the plumber come?")).await;
    let messages = world.script.requests().pop().unwrap().messages;
    let note = messages.last().unwrap().content();
    assert!(note.contains("] (2026-03-02) The plumber comes tomorrow at 9."), "{note}");
}
