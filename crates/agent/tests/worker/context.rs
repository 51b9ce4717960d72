//! What the model is shown of the session.

use agent::settings::WorkerSettings;
use model::{
    chat::ChatRequest,
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    memory::{MemoryType, WriteMemory},
    message::Message,
    run::CreateRun,
};
use serde_json::json;

use crate::World;

fn said(session: &str, input: &str) -> CreateRun {
    CreateRun { session_key: session.parse().unwrap(), ..CreateRun::new(input) }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(Message::content).collect()
}

#[tokio::test]
async fn earlier_runs_of_the_session_are_in_the_conversation_others_are_not() {
    let world = World::new(Scripted::in_order(["A1", "B1", "A2"].map(Reply::text))).await;
    world.story(&said("s_a", "我叫小明")).await;
    world.story(&said("s_b", "something else")).await;
    world.story(&said("s_a", "我叫什么？")).await;
    let requests = world.script.requests();
    assert_eq!(texts(&requests[2].messages), ["我叫小明", "A1", "我叫什么？"]);
    assert_eq!(texts(&requests[1].messages), ["something else"]);
}

#[tokio::test]
async fn turns_that_no_longer_fit_are_folded_into_a_summary() {
    let mut world = World::new(Scripted::new(|_| Reply::text("answer ".repeat(60)))).await;
    world.agent.context_tokens = 1000;
    for n in 0..6 {
        world.story(&said("s_a", &format!("question {n}"))).await;
    }
    let last = world.script.requests().pop().unwrap();
    assert!(last.system.contains("question 0 → answer answer"), "{}", last.system);
    assert!(!texts(&last.messages).contains(&"question 0"));
    assert!(texts(&last.messages).contains(&"question 4"));
}

#[tokio::test]
async fn a_model_may_summarise_and_its_tokens_are_counted() {
    let mut world = World::new(Scripted::new(|request| {
        if request.system.starts_with("Summarise") {
            Reply::text("They talked about tea.")
        } else {
            Reply::text("answer ".repeat(60))
        }
    }))
    .await;
    world.agent.context_tokens = 400;
    world.agent.history_summary = agent::settings::HistorySummary::Model;
    world.story(&said("s_a", "one")).await;
    world.story(&said("s_a", "two")).await;
    let story = world.story(&said("s_a", "three")).await;
    assert!(story.contains("model \"They talked about tea.\""), "{story}");
    let last = world.script.requests().pop().unwrap();
    assert!(last.system.ends_with("They talked about tea."), "{}", last.system);
}

/// A run that reads many files of about so many characters, then says what it was told at first.
fn reads(steps: usize, summary: Reply) -> Scripted {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    Scripted::new(move |request| {
        if request.tools.is_empty() {
            return summary.clone();
        }
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            n if n < steps => {
                Reply::call("read_file", json!({"path": "notes", "offset": n % 40 + 1}))
            }
            _ => Reply::text("done"),
        }
    })
}

async fn reader(script: Scripted) -> World {
    let mut world = World::new(script).await;
    world.agent.context_tokens = 8_000;
    world.agent.tools = Some(vec!["read_file".into()]);
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("notes"), "a line of what was noted in a file\n".repeat(80))
        .unwrap();
    world
}

/// The requests of a run's steps, each with the place where the one before it ends in it.
fn grown(requests: &[ChatRequest]) -> Vec<bool> {
    let pairs = requests.windows(2);
    pairs.map(|pair| pair[1].messages.starts_with(&pair[0].messages)).collect()
}

#[tokio::test]
async fn a_long_run_folds_its_older_steps_now_and_then_and_keeps_its_task() {
    let world = reader(reads(45, Reply::text("The code is 4711."))).await;
    let story = world.story(&CreateRun::new("Find the code.")).await;
    let folded: Vec<_> = story.lines().filter(|line| line.starts_with("compacted")).collect();
    assert!(folded.iter().all(|line| line.ends_with("Model")), "{folded:?}");
    assert!((2..=9).contains(&folded.len()), "{folded:?}");
    assert!(!story.contains("warning"), "{story}");
    let mut steps = world.script.requests();
    steps.retain(|request| !request.tools.is_empty());
    let breaks = grown(&steps).iter().filter(|grew| !**grew).count();
    assert_eq!(breaks, folded.len(), "a prompt only grows but where an event says otherwise");
    for request in &steps {
        assert!(model::tokens::estimate_request(request) <= 8_000);
        assert_eq!(request.messages[0].content(), "Find the code.");
        for pair in request.messages.windows(2) {
            let is_call =
                matches!(&pair[0], Message::Assistant { tool_calls, .. } if !tool_calls.is_empty());
            assert_eq!(is_call, matches!(pair[1], Message::Tool { .. }), "calls stay with results");
        }
    }
    let last = steps.last().unwrap();
    assert!(last.messages[1].content().ends_with("The code is 4711."), "{last:?}");
}

#[tokio::test]
async fn steps_are_folded_by_their_beginnings_where_the_model_gives_no_summary() {
    let refusal = ModelError::BadRequest { status: 400, message: "no".into() };
    let world = reader(reads(12, Reply::error(refusal))).await;
    let story = world.story(&CreateRun::new("Read on.")).await;
    assert!(story.contains("warning context_summary_failed"), "{story}");
    assert!(story.contains("Extractive"), "{story}");
    let last = world.script.requests().pop().unwrap();
    let summary = last.messages[1].content();
    assert!(
        summary.contains("- called `read_file` {\"path\":\"notes\",\"offset\":1}"),
        "{summary}"
    );
}

#[tokio::test]
async fn a_run_that_is_taken_up_sends_the_bytes_that_were_lost() {
    let gate = Gate::new();
    let waits = gate.clone();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let script = Scripted::new(move |request| {
        if request.tools.is_empty() {
            return Reply::text("It read on.");
        }
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Reply::text("well"),
            // PostgreSQL keeps `path` before `offset`.
            n @ 1..20 => Reply::text(format!("Now about the plumber {n}."))
                .and_call("read_file", json!({"offset": n, "path": "notes"})),
            20 => Reply::text("lost").wait(&waits),
            _ => Reply::text("done"),
        }
    });
    let world = reader(script).await;
    for (kind, text) in [
        (MemoryType::Archival, "The plumber comes at 9."),
        (MemoryType::Archival, "The plumber is dear."),
        (MemoryType::Core, "Lives in Hangzhou."),
    ] {
        world.memory.write(&world.scope, &WriteMemory::new(kind, text), None).await.unwrap();
    }
    world.story(&said("s_a", "first")).await;
    // A lease that is never renewed in time: another worker takes the run over.
    let slow = WorkerSettings { lease_ms: 3_000, renew_ms: 600_000, ..WorkerSettings::default() };
    let first = world.worker_with(slow);
    let run_id = world.create(&said("s_a", "second")).await;
    gate.reached().await;
    let second = world.worker();
    world.ended(run_id).await;
    gate.open();
    first.stop(crate::PATIENCE).await;
    second.stop(crate::PATIENCE).await;
    let mut requests = world.script.requests();
    let (again, lost) = (requests.pop().unwrap(), requests.pop().unwrap());
    let bytes = |request: &ChatRequest| format!("{request:?}");
    assert!(
        bytes(&lost) == bytes(&again),
        "{:?}\n{:?}",
        lost.messages.last(),
        again.messages.last()
    );
    let story = crate::told(&world.events(run_id).await);
    assert!(story.contains("compacted") && story.contains("WorkerLost"), "{story}");
    assert!(again.system.contains("Lives in Hangzhou."), "{}", again.system);
}
