//! What the model is shown: of its session, of a long run, of large results, and what is recorded of it.

use agent::{redactor::Reach, settings::WorkerSettings};
use model::{
    chat::ChatRequest,
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    context::{SegmentKind, StepContext},
    event::Fact,
    id::RunId,
    memory::{MemoryType, WriteMemory},
    message::{Message, Usage},
    run::{CreateRun, Run, RunStatus},
};
use serde_json::{Value, json};
use store::error::StoreError;

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
    world.agent.context_tokens = Some(1000);
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
    world.agent.context_tokens = Some(400);
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
    world.agent.context_tokens = Some(8_000);
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
        assert!(request.estimated_tokens() <= 8_000);
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

/// A run of this world to its end.
async fn ran(world: &World, new: &CreateRun) -> Run {
    let worker = world.worker();
    let run = world.ended(world.create(new).await).await;
    worker.stop(crate::PATIENCE).await;
    run
}

/// The id of the call that a text speaks of first.
fn call_in(text: &str) -> Option<String> {
    let at = text.find("call_")?;
    text.get(at..at + 31).map(str::to_owned)
}

/// What `result_read` has given in a run.
async fn read_back(world: &World, run_id: RunId) -> Vec<Value> {
    let results = world.events(run_id).await.into_iter().filter_map(|event| match event.fact {
        Fact::ToolResult { tool, result, .. } if tool == "result_read" => Some(result),
        _ => None,
    });
    results.collect()
}

#[tokio::test]
async fn what_a_prompt_leaves_out_of_a_result_is_read_by_its_id() {
    let script = Scripted::new(|request| {
        let last = request.messages.iter().rev().find_map(|message| match message {
            Message::Tool { tool, content, .. } => Some((tool.as_str(), content.as_str())),
            _ => None,
        });
        match last {
            None => Reply::call("read_file", json!({"path": "long", "limit": 5000})),
            Some(("read_file", shown)) => {
                assert!(!shown.contains("the code is 4711"), "{shown}");
                let (_, note) = shown.split_once("[…").unwrap();
                let id = call_in(note).unwrap();
                Reply::call("result_read", json!({"tool_call_id": id, "match": "the code is \\d+"}))
                    .and_call("result_read", json!({"tool_call_id": id, "offset": 10, "limit": 30}))
            }
            Some(_) => Reply::text("4711"),
        }
    });
    let mut world = reader(script).await;
    world.agent.tools = Some(vec!["read_file".into(), "result_read".into()]);
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    let line = "nothing of note in this line\n";
    let text = format!("{}the code is 4711\n{}", line.repeat(1_000), line.repeat(1_000));
    std::fs::write(folder.join("long"), text).unwrap();
    let run = ran(&world, &CreateRun::new("Find the code.")).await;
    assert_eq!(run.output.as_deref(), Some("4711"));
    let [found, piece] = &read_back(&world, run.run_id).await[..] else { panic!() };
    let shown = found["lines"][0]["text"].as_str().unwrap();
    assert!(shown.contains("the code is 4711"), "{found}");
    assert_eq!((&found["tool"], &found["next_offset"]), (&json!("read_file"), &Value::Null));
    assert_eq!(piece["text"].as_str().unwrap().chars().count(), 30, "{piece}");
    assert_eq!((&piece["offset"], &piece["next_offset"]), (&json!(10), &json!(40)));
}

#[tokio::test]
async fn a_result_that_was_folded_away_is_read_by_the_id_that_the_summary_names() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let script = Scripted::new(move |request| {
        let n = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let summary = request.messages.iter().find_map(|message| match message {
            Message::Summary { content, .. } => Some(content.as_str()),
            _ => None,
        });
        match (summary.and_then(call_in), request.messages.last()) {
            _ if request.tools.is_empty() => Reply::text("Files were read."),
            (Some(_), Some(Message::Tool { tool, .. })) if tool == "result_read" => {
                Reply::text("done")
            }
            (Some(id), _) => Reply::call("result_read", json!({"tool_call_id": id, "limit": 40})),
            (None, _) => Reply::call("read_file", json!({"path": "notes", "offset": n + 1})),
        }
    });
    let mut world = reader(script).await;
    world.agent.tools = Some(vec!["read_file".into(), "result_read".into()]);
    let run = ran(&world, &CreateRun::new("Read on.")).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    let [read] = &read_back(&world, run.run_id).await[..] else { panic!() };
    assert_eq!(read["tool"], "read_file");
    assert!(read["text"].as_str().unwrap().contains("notes"), "{read}");
}

#[tokio::test]
async fn only_results_of_the_run_itself_are_read() {
    let world = World::new(Scripted::in_order([
        Reply::call("memory_search", json!({"query": "x"})),
        Reply::text("ok"),
    ]))
    .await;
    let other = ran(&world, &CreateRun::new("x")).await;
    let foreign = world.events(other.run_id).await.into_iter().find_map(|event| match event.fact {
        Fact::ToolResult { tool_call_id, .. } => Some(tool_call_id.to_string()),
        _ => None,
    });
    let foreign = foreign.unwrap();
    for id in [foreign.as_str(), "call_01h455vb4pex5vsknk084sn02q", "nonsense"] {
        let script = Scripted::in_order([
            Reply::call("result_read", json!({"tool_call_id": id})),
            Reply::text("ok"),
        ]);
        let parts = agent::parts::WorkerParts {
            models: model::models::Models::with_scripted(script),
            ..world.parts()
        };
        let worker = agent::worker::Worker::start(parts, WorkerSettings::default());
        let run = world.ended(world.create(&CreateRun::new("y")).await).await;
        worker.stop(crate::PATIENCE).await;
        let read = read_back(&world, run.run_id).await;
        assert_eq!(read, [json!(format!("there is no result of a call `{id}` in this run"))]);
    }
}

/// A model that takes prompts of so many estimated tokens and does not say how many.
fn narrow(window: u64, script: impl Fn(&ChatRequest) -> Reply + Send + Sync + 'static) -> Scripted {
    Scripted::new(move |request| match request.estimated_tokens() > window {
        true => Reply::error(ModelError::PromptTooLong { message: "too long".into() }),
        false => script(request),
    })
}

#[tokio::test]
async fn a_prompt_that_is_refused_as_too_long_is_made_shorter_and_sent_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let script = narrow(3_000, move |request| {
        if request.tools.is_empty() {
            return Reply::text("Notes were read.");
        }
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            n if n < 12 => Reply::call("read_file", json!({"path": "notes", "offset": n + 1})),
            _ => Reply::text("done"),
        }
    });
    let mut world = reader(script).await;
    world.agent.context_tokens = None;
    let run = ran(&world, &CreateRun::new("Read on.")).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    let story = crate::told(&world.events(run.run_id).await);
    assert!(story.contains("warning context_length_exceeded"), "{story}");
    assert!(story.contains("compacted through"), "{story}");
    assert!(!story.contains("cache_lost"), "an event says why: {story}");
}

#[tokio::test]
async fn a_single_result_that_is_too_long_is_cut_and_the_cut_outlives_the_worker() {
    let gate = Gate::new();
    let waits = gate.clone();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let script =
        narrow(3_000, move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Reply::call("read_file", json!({"path": "notes", "limit": 5000})),
            1 => Reply::call("read_file", json!({"path": "absent"})),
            2 => Reply::text("lost").wait(&waits),
            _ => Reply::text("done"),
        });
    let mut world = reader(script).await;
    world.agent.context_tokens = None;
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::write(folder.join("notes"), "a line of what was noted\n".repeat(1_500)).unwrap();
    let slow = WorkerSettings { lease_ms: 3_000, renew_ms: 600_000, ..WorkerSettings::default() };
    let first = world.worker_with(slow);
    let run_id = world.create(&CreateRun::new("Read.")).await;
    gate.reached().await;
    let second = world.worker();
    let run = world.ended(run_id).await;
    gate.open();
    first.stop(crate::PATIENCE).await;
    second.stop(crate::PATIENCE).await;
    assert_eq!(run.output.as_deref(), Some("done"), "{:?}", run.error);
    let mut requests = world.script.requests();
    let (again, lost) = (requests.pop().unwrap(), requests.pop().unwrap());
    assert_eq!(format!("{:?}", again.messages), format!("{:?}", lost.messages));
    let shown = again.messages[2].content();
    assert!(shown.contains("the rest of the result of `call_"), "{shown}");
    let sent = context(&world, run_id, 3, true).await.unwrap();
    let text = sent.text.unwrap();
    assert_eq!(text.messages[2]["content"], shown, "shown as it was sent");
}

#[tokio::test]
async fn a_task_that_cannot_be_cut_fails_with_the_words_of_the_provider() {
    let world = World::new(narrow(500, |_| Reply::text("done"))).await;
    let run = ran(&world, &CreateRun::new("word ".repeat(2_000))).await;
    assert_eq!(run.status, RunStatus::Failed);
    let message = run.error.unwrap().message;
    assert!(message.contains("the prompt is too long for the model"), "{message}");
}

pub(crate) async fn context(
    world: &World,
    run_id: RunId,
    step: u32,
    with_text: bool,
) -> Result<StepContext, StoreError> {
    let redactor = world.redactor.clone();
    let mask = move |text: &mut String| *text = redactor.redacted(text, Reach::Known).into_owned();
    world.store.scoped(&world.scope).step_context(run_id, step, with_text, &mask).await
}

#[tokio::test]
async fn what_each_call_was_sent_is_recorded_part_by_part() {
    let usage = Usage::new(900, 10, 300);
    let world = World::new(Scripted::in_order([
        Reply::text("first answer"),
        Reply::call("memory_search", json!({"query": "tea"})).with_usage(usage),
        Reply::text("green tea"),
    ]))
    .await;
    for (kind, text) in
        [(MemoryType::Archival, "Likes green tea."), (MemoryType::Core, "Lives in Hangzhou.")]
    {
        world.memory.write(&world.scope, &WriteMemory::new(kind, text), None).await.unwrap();
    }
    ran(&world, &said("s_a", "hello")).await;
    let run = ran(&world, &said("s_a", "Which tea?")).await;
    let sent = context(&world, run.run_id, 1, true).await.unwrap();
    let kinds: Vec<_> = sent.segments.iter().map(|segment| segment.kind).collect();
    let all = [
        SegmentKind::Tools,
        SegmentKind::System,
        SegmentKind::CoreMemory,
        SegmentKind::Turns,
        SegmentKind::Task,
        SegmentKind::Memory,
        SegmentKind::Steps,
        SegmentKind::Answer,
    ];
    assert_eq!(kinds, all, "{sent:?}");
    assert!(sent.segments.iter().all(|segment| segment.tokens > 0), "{sent:?}");
    assert!(sent.segments[5].reference.starts_with("mem_"), "{sent:?}");
    assert!(sent.segments[5].score.unwrap() > 0.0, "{sent:?}");
    assert_eq!((sent.input_tokens, sent.cached_tokens), (900, 300));
    let prompt: u64 = sent.segments[..7].iter().map(|segment| segment.tokens).sum();
    assert!(prompt.abs_diff(sent.estimated_tokens) < 40, "{sent:?}");

    let request = &world.script.requests()[1];
    let text = sent.text.unwrap();
    assert_eq!(text.system, request.system);
    assert_eq!(*text.tools.unwrap(), *request.tools);
    let contents: Vec<_> =
        text.messages.iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(contents, texts(&request.messages));
    assert!(text.messages.iter().all(|message| message.get("sent").is_none()));

    let next = context(&world, run.run_id, 2, true).await.unwrap();
    let request = &world.script.requests()[2];
    assert_eq!(next.text.unwrap().messages.len(), request.messages.len());
    assert!(context(&world, run.run_id, 1, false).await.unwrap().text.is_none());
    for step in [3, 9] {
        let absent = context(&world, run.run_id, step, true).await;
        assert!(matches!(absent, Err(StoreError::NotFound)), "{step}: {absent:?}");
    }
    let stranger = world.store.scoped(&crate::scope("user_b"));
    let foreign = stranger.step_context(run.run_id, 1, true, &|_| {}).await;
    assert!(matches!(foreign, Err(StoreError::NotFound)), "{foreign:?}");
}

#[tokio::test]
async fn a_prompt_behind_a_summary_is_shown_as_it_was_sent() {
    let world = reader(reads(14, Reply::text("The code is 4711."))).await;
    let run = ran(&world, &CreateRun::new("Find the code.")).await;
    let mut requests = world.script.requests();
    requests.retain(|request| !request.tools.is_empty());
    assert!(requests.last().unwrap().messages[1].content().contains("4711"));
    for (request, step) in requests.iter().zip(1..) {
        let sent = context(&world, run.run_id, step, true).await.unwrap().text.unwrap();
        let contents: Vec<_> =
            sent.messages.iter().map(|message| message["content"].as_str().unwrap()).collect();
        assert_eq!(contents, texts(&request.messages), "step {step}");
    }
}

#[tokio::test]
async fn a_provider_that_forgets_what_it_had_cached_is_named_by_a_warning() {
    let cached = |tokens| Usage::new(1_000, 10, tokens);
    let call = || Reply::call("memory_search", json!({"query": "x"}));
    let world = World::new(Scripted::in_order([
        call().with_usage(cached(0)),
        call().with_usage(cached(800)),
        call().with_usage(cached(0)),
        Reply::text("ok").with_usage(cached(0)),
    ]))
    .await;
    let run = ran(&world, &CreateRun::new("x")).await;
    let warnings: Vec<_> = world
        .events(run.run_id)
        .await
        .into_iter()
        .filter_map(|event| match event.fact {
            Fact::RunWarning { code, cause, tokens, .. } => Some((code, cause, tokens)),
            _ => None,
        })
        .collect();
    let lost = Some(protocol::event::CacheLoss::Provider);
    assert_eq!(warnings, [("cache_lost".to_owned(), lost, Some(1_000))]);
}
