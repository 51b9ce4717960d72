//! What a follower sees while the model speaks.

use model::{
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::run::CreateRun;
use store::stream::Frame;

use crate::World;

/// Frames as one line each: `3` for an event, `3.1 text` for a delta, `4.1 !` for a reset.
fn lines(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| match frame {
            Frame::Event(event) => format!("{} {}", event.seq, event.type_name),
            Frame::Delta { at, text, .. } => format!("{}.{} {text}", at.seq, at.n),
            Frame::Reset { at, .. } => format!("{}.{} !", at.seq, at.n),
        })
        .collect()
}

#[tokio::test]
async fn text_is_seen_before_the_answer_is_whole() {
    let gate = Gate::new();
    let world =
        World::new(Scripted::in_order([Reply::chunks(["从前", "有座山"]).wait(&gate).chunk("。")]))
            .await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("讲故事")).await;
    let scoped = world.store.scoped(&world.scope);
    let mut bell = scoped.watch_run(run_id);
    let seen = loop {
        let seen = lines(&world.frames(run_id).await);
        if seen.iter().any(|line| line.contains("山")) {
            break seen;
        }
        tokio::time::timeout(crate::PATIENCE, bell.woken()).await.unwrap();
    };
    assert_eq!(seen[..3], ["1 run.started", "2 step.started", "3 memory.recalled"]);
    assert!(seen[3].starts_with("3.1 从前"), "{seen:?}");
    gate.open();
    world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    let all = lines(&world.frames(run_id).await);
    let text: String = all
        .iter()
        .filter_map(|line| line.strip_prefix("3.").and_then(|rest| rest.split_once(' ')))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(text, "从前有座山。");
    assert_eq!(all[all.len() - 3..], ["4 llm.called", "5 step.completed", "6 run.completed"]);
}

#[tokio::test]
async fn text_of_a_failed_attempt_is_voided() {
    let world =
        World::new(Scripted::in_order([Reply::truncated("wro"), Reply::text("right")])).await;
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(crate::PATIENCE).await;
    let all = lines(&world.frames(run.run_id).await);
    let from_text = all.iter().position(|line| line == "3.1 wro").unwrap();
    assert_eq!(
        all[from_text..],
        [
            "3.1 wro",
            "4 run.warning",
            "4.1 !",
            "4.2 right",
            "5 llm.called",
            "6 step.completed",
            "7 run.completed"
        ]
    );
    assert_eq!(run.output.as_deref(), Some("right"));
}

#[tokio::test]
async fn a_partial_answer_never_enters_the_conversation() {
    let world = World::new(Scripted::in_order([
        Reply::text("wro").fail(ModelError::Truncated),
        Reply::text("right"),
        Reply::text("second"),
    ]))
    .await;
    world.story(&CreateRun::new("one")).await;
    world.story(&CreateRun::new("two")).await;
    let asked = serde_json::to_string(&world.script.requests()[2].messages).unwrap();
    assert!(asked.contains("right") && !asked.contains("wro"), "{asked}");
}
