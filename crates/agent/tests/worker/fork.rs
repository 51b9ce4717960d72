//! Runs that are made of a step of another: what they take over is not done again, and their prompts
//! begin as their parent's.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use mcp::{config::ServerConfig, process::Launcher, servers::Servers};
use model::{
    chat::ChatRequest,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    event::Fact,
    id::RunId,
    message::{Message, Usage},
    name::AgentId,
    page::PageLimit,
    run::{CreateRun, ForkRun, Run, RunErrorCode, RunLimits, RunStatus},
};
use serde_json::json;
use store::forks::ForkError;

use crate::World;

/// Steps of the run that is forked; the last one gives the answer.
const STEPS: u32 = 4;

/// The model calls the tool once a step, says by how many answers the prompt has which step that is,
/// and answers in the last.
fn script() -> Scripted {
    Scripted::new(|request| {
        let steps = answers(request);
        let reply = match steps < STEPS as usize - 1 {
            true => Reply::call("journal__append", json!({"step": steps + 1})),
            false => Reply::text(format!("answer after {steps} steps")),
        };
        reply.with_usage(Usage::new(10, 1, 0))
    })
}

fn answers(request: &ChatRequest) -> usize {
    let is_answer = |message: &&Message| matches!(message, Message::Assistant { .. });
    request.messages.iter().filter(is_answer).count()
}

/// A world with a tool that keeps a journal of its calls.
struct Journaled {
    world: World,
    journal: PathBuf,
}

impl Journaled {
    async fn new(script: Scripted) -> Self {
        let mut world = World::new(script).await;
        let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python");
        assert!(std::path::Path::new(python).exists(), "`make deps` makes the Python environment");
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worker/journal.py");
        let journal = world.workspace.path().join("journal");
        let config = ServerConfig::new(python, ["-I", "-S", server, journal.to_str().unwrap()]);
        let servers = BTreeMap::from([("journal".to_owned(), config)]);
        world.mcp = Arc::new(Servers::start(servers, Launcher::plain(), []).await);
        Self { world, journal }
    }

    /// The steps whose calls came to the tool, in their order.
    fn calls(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        let call = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap()
        };
        text.lines().map(call).collect()
    }

    fn forget_calls(&self) {
        std::fs::remove_file(&self.journal).ok();
    }
}

impl World {
    async fn fork(&self, parent: RunId, fork: &ForkRun) -> RunId {
        self.store.scoped(&self.scope).fork_run(parent, fork, None).await.unwrap().run_id
    }

    /// The run, from its place in the queue to its end.
    pub(crate) async fn done(&self, run_id: RunId) -> Run {
        let worker = self.worker();
        let run = self.ended(run_id).await;
        worker.stop(crate::PATIENCE).await;
        run
    }
}

/// The bytes of a prompt.
fn words(request: &ChatRequest) -> String {
    let messages: Vec<_> =
        request.messages.iter().map(|one| serde_json::to_string(one).unwrap()).collect();
    format!("{}\n{}", request.system, messages.join("\n"))
}

#[tokio::test]
async fn a_fork_at_each_step_takes_over_what_was_done_and_calls_no_tool_twice() {
    let journaled = Journaled::new(script()).await;
    let world = &journaled.world;
    let origin = world.done(world.create(&CreateRun::new("x")).await).await;
    let story = crate::told(&world.events(origin.run_id).await);
    assert_eq!(journaled.calls(), [1, 2, 3], "{story}");
    let prompts = world.script.requests();
    for from_step in 0..STEPS {
        journaled.forget_calls();
        let asked_before = world.script.requests().len();
        let run = world.done(world.fork(origin.run_id, &ForkRun::at(from_step)).await).await;
        assert_eq!(run.output.as_deref(), Some("answer after 3 steps"));
        let rest: Vec<_> = (u64::from(from_step) + 1..u64::from(STEPS)).collect();
        assert_eq!(journaled.calls(), rest, "from step {from_step}");
        assert_eq!((run.step_count, run.tool_call_count), (STEPS, STEPS - 1 - from_step));
        assert_eq!(
            (run.parent_run_id, run.forked_from_step),
            (Some(origin.run_id), Some(from_step))
        );
        // Only what it asked itself is counted.
        assert_eq!(run.usage.input_tokens, 10 * u64::from(STEPS - from_step));
        let events = world.events(run.run_id).await;
        assert!(matches!(
            &events[0].fact,
            Fact::RunStarted { parent_run_id: Some(parent), forked_from_step: Some(step), .. }
                if *parent == origin.run_id && *step == from_step
        ));
        let first = events.iter().find_map(|event| event.step_id.clone());
        assert_eq!(first, Some(protocol::event::step_id(from_step + 1)));
        // It asks with the bytes that its parent asked with there.
        let asked = &world.script.requests()[asked_before];
        assert_eq!(words(asked), words(&prompts[from_step as usize]));
        assert!(events.iter().all(|event| !matches!(event.fact, Fact::RunWarning { .. })));
    }
    journaled.world.mcp.stop().await;
}

#[tokio::test]
async fn a_fork_whose_worker_is_lost_goes_on_from_what_it_took_over() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let journaled = Journaled::new(Scripted::new(move |request| match answers(request) {
        0 => Reply::call("journal__append", json!({"step": 1})),
        _ => Reply::text("done").wait(&waiting),
    }))
    .await;
    let world = &journaled.world;
    let first = world.worker();
    let origin = world.create(&CreateRun::new("x")).await;
    gate.reached().await;
    // The parent goes on, and so the fork waits for it: they are of one session.
    let said = ForkRun { input: Some("and now?".into()), ..ForkRun::at(1) };
    let fork = world.fork(origin, &said).await;
    world.store.scoped(&world.scope).cancel_run(origin, "user_a", None).await.unwrap();
    world.ended(origin).await;
    world.reached(fork, "step.started").await;
    world.asked(3).await;
    first.stop(Duration::ZERO).await;
    gate.open();
    let run = world.done(fork).await;
    assert_eq!((run.status, run.output.as_deref()), (RunStatus::Completed, Some("done")));
    assert_eq!(journaled.calls(), [1]);
    let requests = world.script.requests();
    let [.., before, after] = &requests[..] else { panic!() };
    assert_eq!(words(before), words(after), "what was said to it is said once");
    assert!(words(after).starts_with(&words(&requests[1])));
    let told = after.messages.last().unwrap();
    assert_eq!(*told, Message::User { content: "and now?".into() });
    journaled.world.mcp.stop().await;
}

#[tokio::test]
async fn a_fork_of_a_fork_has_the_steps_of_both_and_goes_on_after_an_answer() {
    let journaled = Journaled::new(script()).await;
    let world = &journaled.world;
    let origin = world.done(world.create(&CreateRun::new("task")).await).await;
    let scoped = world.store.scoped(&world.scope);
    let mute = scoped.fork_run(origin.run_id, &ForkRun::at(STEPS), None).await;
    assert!(matches!(mute, Err(ForkError::Answered)), "{mute:?}");
    let more = ForkRun { input: Some("more".into()), ..ForkRun::at(STEPS) };
    let second = world.done(world.fork(origin.run_id, &more).await).await;
    assert_eq!((second.input.as_str(), second.step_count), ("more", STEPS + 1));
    journaled.forget_calls();

    let third = world.done(world.fork(second.run_id, &ForkRun::at(2)).await).await;
    assert_eq!(journaled.calls(), [3]);
    // What it goes on with is what its steps were asked, not what came after them.
    assert_eq!((third.input.as_str(), third.parent_run_id), ("task", Some(second.run_id)));
    let last = world.script.requests().pop().unwrap();
    assert!(!words(&last).contains("more"), "{}", words(&last));
    let pages = scoped.list_checkpoints(third.run_id, 0, PageLimit::try_from(3).unwrap());
    let page = pages.await.unwrap();
    let taken: Vec<_> = page.items.iter().map(|one| (one.step, one.is_taken_over)).collect();
    assert_eq!(taken, [(1, true), (2, true), (3, false)]);
    assert_eq!(page.next_cursor.as_deref(), Some("3"));
    let beyond = scoped.fork_run(third.run_id, &ForkRun::at(9), None).await;
    assert!(matches!(beyond, Err(ForkError::NoCheckpoint)), "{beyond:?}");
    journaled.world.mcp.stop().await;
}

#[tokio::test]
async fn results_that_a_fork_took_over_are_found_with_the_run_that_got_them() {
    let journaled = Journaled::new(script()).await;
    let world = &journaled.world;
    let origin = world.done(world.create(&CreateRun::new("x")).await).await;
    let call = world.events(origin.run_id).await.into_iter().find_map(|event| match event.fact {
        Fact::ToolCalled { tool_call_id, .. } => Some(tool_call_id),
        _ => None,
    });
    let call = call.unwrap();
    let fork = world.done(world.fork(origin.run_id, &ForkRun::at(2)).await).await;
    let second = world.fork(fork.run_id, &ForkRun::at(2)).await;
    let anew = world.fork(fork.run_id, &ForkRun::at(0)).await;
    let scoped = world.store.scoped(&world.scope);
    let result = scoped.tool_result(origin.run_id, call).await.unwrap();
    assert_eq!(result.as_ref().unwrap().tool, "journal__append");
    assert_eq!(scoped.tool_result(second, call).await.unwrap(), result);
    let own = scoped
        .tool_result(second, protocol::id::CallId::derive(second, 9, 9, "t", "{}"))
        .await
        .unwrap();
    assert_eq!(own, None);
    let left_behind = scoped.tool_result(anew, call).await.unwrap();
    assert_eq!(left_behind, None, "it did not take over that step");
}

#[tokio::test]
async fn a_fork_takes_the_place_of_its_parent_in_their_session() {
    let texts = |request: &ChatRequest| -> Vec<String> {
        request.messages.iter().map(|message| message.content().to_owned()).collect()
    };
    let world = World::new(Scripted::new(|request| {
        let asked = request.messages.last().unwrap().content().to_owned();
        Reply::text(format!("to {asked}"))
    }))
    .await;
    let mut runs = Vec::new();
    for input in ["a", "b", "c"] {
        runs.push(world.done(world.create(&CreateRun::new(input)).await).await.run_id);
    }
    // `b` is asked otherwise: what followed it is no part of this conversation any more.
    let edit = ForkRun { input: Some("b2".into()), ..ForkRun::at(0) };
    let fork = world.done(world.fork(runs[1], &edit).await).await;
    assert_eq!(texts(&world.script.requests()[3]), ["a", "to a", "b2"]);
    world.done(world.create(&CreateRun::new("d")).await).await;
    assert_eq!(texts(&world.script.requests()[4]), ["a", "to a", "b2", "to b2", "d"]);
    // A fork of what was left behind leads back there.
    world.done(world.fork(runs[2], &ForkRun::at(0)).await).await;
    assert_eq!(texts(&world.script.requests()[5]), ["a", "to a", "b", "to b", "c"]);
    world.done(world.create(&CreateRun::new("e")).await).await;
    let want = ["a", "to a", "b", "to b", "c", "to c", "e"];
    assert_eq!(texts(&world.script.requests()[6]), want);
    assert_eq!(fork.session_key, "s_default".parse().unwrap());
}

#[tokio::test]
async fn a_fork_behind_an_answer_keeps_it_and_one_that_came_to_nothing_takes_no_place() {
    let texts = |request: &ChatRequest| -> Vec<String> {
        request.messages.iter().map(|message| message.content().to_owned()).collect()
    };
    let world = World::new(Scripted::new(|request| {
        let asked = request.messages.last().unwrap().content().to_owned();
        Reply::text(format!("to {asked}"))
    }))
    .await;
    let mut runs = Vec::new();
    for input in ["a", "b"] {
        runs.push(world.done(world.create(&CreateRun::new(input)).await).await.run_id);
    }
    let asked = |input: &str, at| ForkRun { input: Some(input.into()), ..ForkRun::at(at) };
    let more = world.done(world.fork(runs[1], &asked("more", 1)).await).await.run_id;
    world.done(world.fork(more, &asked("deep", 2)).await).await;
    let scoped = world.store.scoped(&world.scope);
    let mistaken = world.fork(runs[0], &asked("oops", 0)).await;
    scoped.cancel_run(mistaken, "user_a", None).await.unwrap();
    world.done(world.create(&CreateRun::new("c")).await).await;
    let want = ["a", "to a", "b", "to b", "more", "to more", "deep", "to deep", "c"];
    assert_eq!(texts(world.script.requests().last().unwrap()), want);
}

#[tokio::test]
async fn another_agent_is_told_so_behind_what_was_taken_over() {
    let mut journaled = Journaled::new(script()).await;
    let world = &mut journaled.world;
    let origin = world.done(world.create(&CreateRun::new("x")).await).await;
    let before = world.script.requests();
    world.agent.system_prompt = "You are the auditor.".into();
    world.more_agents = vec!["auditor".parse::<AgentId>().unwrap()];
    let agent_id = Some("auditor".parse().unwrap());
    let other = ForkRun { agent_id, ..ForkRun::at(1) };
    let run = world.done(world.fork(origin.run_id, &other).await).await;
    assert_eq!(run.agent_id.as_str(), "auditor");
    let asked = &world.script.requests()[before.len()];
    assert!(words(asked).starts_with(&words(&before[1])), "the prompt only grew");
    let told = asked.messages.last().unwrap().content();
    assert!(told.ends_with("You are the auditor."), "{told}");
    journaled.world.mcp.stop().await;
}

#[tokio::test]
async fn a_fork_is_told_of_another_schema_behind_what_was_taken_over() {
    let journaled = Journaled::new(Scripted::new(|request| match answers(request) {
        0 => Reply::call("journal__append", json!({"step": 1})),
        _ => Reply::text(r#"{"n": 1}"#),
    }))
    .await;
    let world = &journaled.world;
    let format = |schema| serde_json::from_value(schema).unwrap();
    let first = format(json!({"type": "object", "title": "first"}));
    let new = CreateRun { response_format: Some(first), ..CreateRun::new("x") };
    let origin = world.done(world.create(&new).await).await;
    let same = world.done(world.fork(origin.run_id, &ForkRun::at(1)).await).await;
    let other = Some(format(json!({"type": "object", "title": "second"})));
    let other = ForkRun { response_format: other, ..ForkRun::at(1) };
    let run = world.done(world.fork(origin.run_id, &other).await).await;
    assert!(same.output_json.is_some() && run.output_json.is_some());
    let requests = world.script.requests();
    let [_, before, same, asked] = &requests[..] else { panic!() };
    assert_eq!(words(before), words(same), "it was told before");
    assert!(words(asked).starts_with(&words(before)), "the prompt only grew");
    let told = asked.messages.last().unwrap().content();
    assert!(told.ends_with(r#"{"type":"object","title":"second"}"#), "{told}");
    journaled.world.mcp.stop().await;
}

#[tokio::test]
async fn bounds_of_steps_count_those_of_a_fork_alone_and_bytes_count_all() {
    let mut journaled = Journaled::new(script()).await;
    let limits = Some(RunLimits { max_steps: Some(2), ..RunLimits::default() });
    let world = &mut journaled.world;
    let new = CreateRun { limits, ..CreateRun::new("x") };
    let origin = world.done(world.create(&new).await).await;
    assert_eq!(origin.error.unwrap().code, RunErrorCode::StepLimit);
    let run = world.done(world.fork(origin.run_id, &ForkRun::at(2)).await).await;
    assert_eq!(run.output.as_deref(), Some("answer after 3 steps"));
    world.size_limits.run_bytes = 100;
    let run = world.done(world.fork(origin.run_id, &ForkRun::at(2)).await).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::SizeLimit);
    journaled.world.mcp.stop().await;
}
