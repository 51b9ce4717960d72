//! What a worker writes holds no secret of the installation, whoever says it.

use agent::redactor::{MASK, Redactor};
use model::{
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    event::{Event, Fact},
    memory::MemoryFilters,
    page::PageLimit,
    run::CreateRun,
};
use serde_json::json;
use store::stream::Frame;

use crate::{World, context::context};

const SECRET: &str = "canary-7f3a9c51e2";
const TOKEN: &str = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6";

async fn world(replies: impl IntoIterator<Item = Reply>) -> World {
    let mut world = World::new(Scripted::in_order(replies)).await;
    world.redactor = Redactor::new([SECRET.into()]);
    world
}

fn text_of(frames: &[Frame]) -> String {
    let texts = frames.iter().filter_map(|frame| match frame {
        Frame::Delta { text, .. } => Some(text.as_str()),
        Frame::Event(_) | Frame::Reset { .. } => None,
    });
    texts.collect()
}

fn flagged(events: &[Event]) -> Vec<&'static str> {
    let flagged = events.iter().filter(|event| event.redaction.contains_secrets);
    flagged.map(|event| event.fact.type_name()).collect()
}

#[tokio::test]
async fn a_secret_split_over_deltas_is_never_seen() {
    let gate = Gate::new();
    let (first, rest) = SECRET.split_at(9);
    let reply = Reply::chunks([format!("the key is {first}")]).wait(&gate);
    let world = world([reply.chunk(format!("{rest}, and")).chunk(" a canary")]).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    let scoped = world.store.scoped(&world.scope);
    let mut bell = scoped.watch_run(run_id);
    let seen = loop {
        let seen = text_of(&world.frames(run_id).await);
        if !seen.is_empty() {
            break seen;
        }
        tokio::time::timeout(crate::PATIENCE, bell.woken()).await.unwrap();
    };
    assert_eq!(seen, "the key is ");
    gate.open();
    let run = world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    let want = format!("the key is {MASK}, and a canary");
    assert_eq!(text_of(&world.frames(run_id).await), want);
    assert_eq!(run.output.as_deref(), Some(want.as_str()));
    assert_eq!(flagged(&world.events(run_id).await), ["llm.called", "run.completed"]);
}

#[tokio::test]
async fn neither_tools_nor_the_next_prompt_get_a_secret() {
    let write = json!({"type": "core", "text": format!("remember {SECRET} and {TOKEN}")});
    let world = world([
        Reply::call("memory_write", write).and_call("read_file", json!({"path": "env"})),
        Reply::error(ModelError::Unavailable {
            status: Some(500),
            retry_after: None,
            message: format!("bad key {SECRET}, Bearer {TOKEN}"),
        }),
        Reply::text("done"),
    ])
    .await;
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("env"), format!("A={SECRET}\nB={TOKEN}\n")).unwrap();
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;

    let prompts = format!("{:?}", world.script.requests());
    assert!(!prompts.contains(SECRET), "{prompts}");
    let events = world.events(run_id).await;
    let told = serde_json::to_string(&events).unwrap();
    assert!(!told.contains(SECRET), "{told}");
    assert_eq!(flagged(&events), ["llm.called", "tool.called", "tool.result", "run.warning"]);
    for event in &events {
        // What a model says may be what the task is about; what a tool or an error says may not.
        let keeps = format!("{event:?}").contains(TOKEN);
        match &event.fact {
            Fact::LlmCalled { tool_calls, .. } => assert_eq!(keeps, !tool_calls.is_empty()),
            Fact::ToolCalled { tool, .. } => assert_eq!(keeps, tool == "memory_write"),
            Fact::MemoryRecalled { hits, .. } => assert_eq!(keeps, !hits.is_empty()),
            _ => assert!(!keeps, "{event:?}"),
        }
    }
    let memories = world.store.scoped(&world.scope);
    let memories = memories
        .list_memories(&MemoryFilters::default(), None, PageLimit::default())
        .await
        .unwrap();
    assert_eq!(memories.items[0].snippet, format!("remember {MASK} and {TOKEN}"));
}

#[tokio::test]
async fn a_secret_of_an_earlier_turn_is_shown_as_it_was_sent() {
    let world = world([Reply::text("ok"), Reply::text("done")]).await;
    world.done(world.create(&CreateRun::new(format!("use {SECRET}"))).await).await;
    let run = world.done(world.create(&CreateRun::new("go on")).await).await;
    let sent = context(&world, run.run_id, 1, true).await.unwrap().text.unwrap();
    let shown: Vec<_> =
        sent.messages.iter().map(|message| message["content"].as_str().unwrap()).collect();
    let request = &world.script.requests()[1];
    let asked: Vec<_> = request.messages.iter().map(|message| message.content()).collect();
    assert_eq!(shown, asked);
    assert_eq!(shown[0], format!("use {MASK}"));
}

#[tokio::test]
async fn a_users_own_token_stays_and_is_noted() {
    let world = world([Reply::text("ok")]).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new(format!("use {TOKEN} and {SECRET}"))).await;
    world.ended(run_id).await;
    worker.stop(crate::PATIENCE).await;
    let events = world.events(run_id).await;
    let Fact::RunStarted { input, .. } = &events[0].fact else { panic!("{:?}", events[0]) };
    assert_eq!(*input, format!("use {TOKEN} and {MASK}"));
    assert!(events[0].redaction.contains_secrets);
    let prompts = format!("{:?}", world.script.requests()[0].messages);
    assert!(prompts.contains(TOKEN) && !prompts.contains(SECRET), "{prompts}");
}
