//! What a completed run leaves in memory.

use agent::{redactor::Redactor, settings::AfterRun};
use memory::service::after_runs::{MadeOfRun, Vectors};
use model::{
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    event::Fact,
    id::RunId,
    memory::{Memory, MemoryFilters, MemoryType, SearchMemories, WriteMemory},
    message::{FinishReason, Usage},
    page::PageLimit,
    run::{CreateRun, LlmConfig, Run, RunStatus},
    scope::Scope,
    time::Zone,
};
use secrecy::SecretString;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use store::settings::DailyBudget;

use crate::{PATIENCE, World};

const ANSWER: &str = "The museum opens at nine. On Mondays it stays closed.";

async fn world(after_run: AfterRun, script: Scripted) -> World {
    World { after_run, ..World::new(script).await }
}

/// Always the same answer.
fn always(answer: &'static str) -> Scripted {
    Scripted::new(move |_| Reply::text(answer))
}

fn demo(input: &str) -> CreateRun {
    let llm_config = LlmConfig {
        provider: Some("demo".into()),
        model: None,
        temperature: None,
        max_tokens: None,
    };
    CreateRun { llm_config: Some(llm_config), ..CreateRun::new(input) }
}

impl World {
    /// Runs to its end, and until nothing is left to remember.
    async fn remembered(&self, new: &CreateRun) -> Run {
        let run_id = self.create(new).await;
        let run = self.ended(run_id).await;
        self.nothing_to_remember(run_id).await;
        run
    }

    /// Waits until the run is remembered, or was not noted.
    async fn nothing_to_remember(&self, run_id: RunId) {
        let mut bell = self.store.scoped(&self.scope).watch_run(run_id);
        tokio::time::timeout(PATIENCE, async {
            while self.notes().await > 0 {
                bell.woken().await;
            }
        })
        .await
        .expect("the run is remembered");
    }

    async fn notes(&self) -> i64 {
        let mut admin = PgConnection::connect(&self.database.admin_url).await.unwrap();
        let notes = "select count(*) from runs_to_remember";
        sqlx::query_scalar(notes).fetch_one(&mut admin).await.unwrap()
    }

    async fn memories(&self) -> Vec<Memory> {
        self.memories_of(&self.scope).await
    }

    /// Oldest first.
    async fn memories_of(&self, scope: &Scope) -> Vec<Memory> {
        let all = PageLimit::try_from(500).unwrap();
        let page = self.memory.list(scope, &MemoryFilters::default(), None, all).await.unwrap();
        let mut memories = Vec::new();
        for summary in page.items.iter().rev() {
            memories.push(self.memory.get(scope, summary.id).await.unwrap());
        }
        memories
    }
}

fn texts(memories: &[Memory]) -> Vec<&str> {
    memories.iter().map(|memory| memory.text.as_str()).collect()
}

#[tokio::test]
async fn a_run_is_remembered_and_the_next_one_recalls_it() {
    let world = world(AfterRun::Extractive, always("On Sundays it opens at noon.")).await;
    let worker = world.worker();
    let mut new = CreateRun::new("The museum opens at nine on Mondays.");
    new.session_key = "s_museum".parse().unwrap();
    let run = world.remembered(&new).await;
    assert_eq!(run.status, RunStatus::Completed);
    let memories = world.memories().await;
    let [memory] = memories.as_slice() else { panic!("{memories:?}") };
    assert!(memory.text.starts_with("The museum opens at nine on Mondays.\n"), "{memory:?}");
    assert_eq!(memory.kind, MemoryType::Episodic);
    assert!(memory.importance < 0.5);
    assert_eq!((memory.group_key.as_deref(), memory.position), (Some("s_museum"), Some(0)));
    assert_eq!(memory.occurred_at.unwrap().instant(), run.ended_at.unwrap());
    let origin = memory.origin.unwrap();
    assert_eq!((origin.run_id, origin.step), (run.run_id, run.step_count));

    // Another session finds it; and what it only says again is not remembered again.
    let asked = world.remembered(&demo("What do you know about the museum?")).await;
    let recalled =
        world.events(asked.run_id).await.into_iter().find_map(|event| match event.fact {
            Fact::MemoryRecalled { hits, .. } => Some(hits),
            _ => None,
        });
    assert_eq!(recalled.unwrap().first().unwrap().id, memory.id);
    assert!(asked.output.unwrap().contains("opens at nine on Mondays"));
    assert_eq!(world.memories().await.len(), 1, "{:?}", texts(&world.memories().await));
    let events = world.events(run.run_id).await;
    assert_eq!(events.last().unwrap().fact.type_name(), "run.completed", "nothing follows the end");
    worker.stop(PATIENCE).await;

    for stranger in
        [("org_b", "user_a", None), ("org_a", "user_b", None), ("org_a", "user_a", Some("p"))]
    {
        let stranger = Scope {
            org_id: stranger.0.parse().unwrap(),
            user_id: stranger.1.parse().unwrap(),
            project_id: stranger.2.map(|name| name.parse().unwrap()),
        };
        assert!(world.memories_of(&stranger).await.is_empty());
    }
}

#[tokio::test]
async fn switched_off_nothing_is_noted_or_written() {
    let world = world(AfterRun::Off, always(ANSWER)).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("When does the museum open?")).await;
    world.ended(run_id).await;
    worker.stop(PATIENCE).await;
    assert_eq!((world.notes().await, world.memories().await), (0, vec![]));
}

#[tokio::test]
async fn what_did_not_give_an_answer_leaves_nothing() {
    let refused = ModelError::BadRequest { status: 400, message: "no".into() };
    let script = Scripted::in_order([Reply::error(refused), Reply::text("Ok!")]);
    let world = world(AfterRun::Extractive, script).await;
    let worker = world.worker();
    for want in [RunStatus::Failed, RunStatus::Completed] {
        let run = world.remembered(&CreateRun::new("hi")).await;
        assert_eq!(run.status, want);
    }
    worker.stop(PATIENCE).await;
    assert_eq!(world.memories().await, vec![]);
}

#[tokio::test]
async fn the_same_run_again_and_again_leaves_one_memory() {
    let world = world(AfterRun::Extractive, always(ANSWER)).await;
    let worker = world.worker();
    let mut last = None;
    for _ in 0..20 {
        last = Some(world.remembered(&CreateRun::new("When does the museum open?")).await);
    }
    worker.stop(PATIENCE).await;
    let memories = world.memories().await;
    assert_eq!(texts(&memories), [format!("When does the museum open?\n{ANSWER}")]);
    assert!(memories[0].occurred_at.unwrap().instant() <= last.unwrap().ended_at.unwrap());
}

/// The same where nothing is looked up, so that nothing is known.
#[tokio::test]
async fn an_equal_memory_stays_and_its_time_is_brought_up_to_date() {
    let mut world = world(AfterRun::Extractive, always(ANSWER)).await;
    world.agent.recall_top_k = 0;
    let worker = world.worker();
    let first = world.remembered(&CreateRun::new("When does the museum open?")).await;
    let last = world.remembered(&CreateRun::new("When does the museum open?")).await;
    worker.stop(PATIENCE).await;
    let memories = world.memories().await;
    let [memory] = memories.as_slice() else { panic!("{memories:?}") };
    assert_eq!(memory.origin.unwrap().run_id, first.run_id);
    assert_eq!(memory.occurred_at.unwrap().instant(), last.ended_at.unwrap());
}

#[tokio::test]
async fn what_a_worker_left_undone_is_done_once() {
    let world = world(AfterRun::Extractive, always(ANSWER)).await;
    // A worker that dies after the end of a run, and another while it remembers it.
    let run_id = world.create(&CreateRun::new("When does the museum open?")).await;
    let claim = world.store.claim(uuid::Uuid::now_v7(), 1, PATIENCE).await.unwrap().remove(0);
    let end = store::journal::Entry {
        end: Some(store::journal::End::Completed { output: ANSWER.into() }),
        remember: true,
        ..Default::default()
    };
    world.store.journal(&claim).commit(&end).await.unwrap();
    let lost = world.store.claim_to_remember(1, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(lost[0].run_id, run_id);
    let worker = world.worker();
    world.nothing_to_remember(run_id).await;
    worker.stop(PATIENCE).await;
    // It was only slow: what it writes now is not written.
    let late = WriteMemory::new(MemoryType::Episodic, "too late");
    let late = MadeOfRun { run: &lost[0], memories: vec![late] };
    let wrote = world.memory.remember_runs(&[late], Vectors::Later).await.remove(0).unwrap();
    assert_eq!((wrote.written, wrote.merged), (0, 0));
    assert_eq!(texts(&world.memories().await), [format!("When does the museum open?\n{ANSWER}")]);
}

#[tokio::test]
async fn what_the_run_wrote_by_itself_is_not_remembered_twice() {
    let world = world(AfterRun::Extractive, Scripted::in_order([])).await;
    let worker = world.worker();
    for input in ["Remember that Li likes strong green tea.", "记住：我最喜欢的颜色是青色"]
    {
        let run = world.remembered(&demo(input)).await;
        assert_eq!(run.tool_call_count, 1, "{run:?}");
    }
    worker.stop(PATIENCE).await;
    let memories = world.memories().await;
    let kinds: Vec<_> = memories.iter().map(|memory| memory.kind).collect();
    assert_eq!(kinds, [MemoryType::Archival; 2], "{:?}", texts(&memories));
}

/// As the README tells: the fact itself is what a search finds, and no copy of it.
#[tokio::test]
async fn what_the_demo_notes_and_finds_is_there_once() {
    let world = world(AfterRun::Extractive, Scripted::in_order([])).await;
    let worker = world.worker();
    world.remembered(&demo("Please remember: the office is in Hangzhou.")).await;
    let mut asked = demo("Where is the office?");
    asked.session_key = "s_other".parse().unwrap();
    let asked = world.remembered(&asked).await;
    assert!(asked.output.unwrap().contains("Hangzhou"));
    let hits = world.memory.search(&world.scope, &SearchMemories::new("office")).await.unwrap();
    let [hit] = hits.as_slice() else { panic!("{hits:?}") };
    assert_eq!((hit.snippet.as_str(), hit.score), ("the office is in Hangzhou", 1.0));
    // Nor are its greetings, or what it says of itself where it has no answer.
    for input in ["Hello!", "你好", "Write me a poem about trains.", "写一首关于火车的诗"]
    {
        world.remembered(&demo(input)).await;
        assert_eq!(texts(&world.memories().await), ["the office is in Hangzhou"], "{input}");
    }
    worker.stop(PATIENCE).await;
}

#[tokio::test]
async fn an_answer_that_was_cut_off_or_withheld_is_not_remembered() {
    for (reason, is_kept) in [
        (FinishReason::Length, false),
        (FinishReason::ContentFilter, false),
        (FinishReason::Stop, true),
    ] {
        let reply = move |_: &_| Reply::text(ANSWER).with_finish_reason(reason);
        let world = world(AfterRun::Extractive, Scripted::new(reply)).await;
        let worker = world.worker();
        let run = world.remembered(&CreateRun::new("When does the museum open?")).await;
        worker.stop(PATIENCE).await;
        let is_there = !world.memories().await.is_empty();
        assert_eq!(is_there, is_kept, "{reason:?}: {run:?}");
    }
}

#[tokio::test]
async fn what_is_remembered_happened_on_the_day_of_the_runs_zone() {
    // At any time it is another day in one of them.
    for name in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        let world = world(AfterRun::Extractive, always(ANSWER)).await;
        let worker = world.worker();
        let zone: Zone = name.parse().unwrap();
        let new = CreateRun {
            timezone: Some(zone.clone()),
            ..CreateRun::new("When does the museum open?")
        };
        let run = world.remembered(&new).await;
        worker.stop(PATIENCE).await;
        let at = world.memories().await[0].occurred_at.unwrap();
        assert_eq!(at.day(), zone.at(run.ended_at.unwrap()).date(), "{name}");
    }
}

#[tokio::test]
async fn secrets_are_masked() {
    let mut world =
        world(AfterRun::Extractive, always("The museum's token is hunter2-hunter2.")).await;
    world.redactor = Redactor::new([SecretString::from("hunter2-hunter2")]);
    let worker = world.worker();
    let key = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6";
    world.remembered(&CreateRun::new(format!("Is {key} a good key for the museum?"))).await;
    worker.stop(PATIENCE).await;
    assert_eq!(
        texts(&world.memories().await),
        ["Is [redacted] a good key for the museum?\nThe museum's token is [redacted]."]
    );
}

/// Answers the task, and then whatever follows it.
fn then(facts: Reply) -> Scripted {
    Scripted::new(move |request| {
        if request.system.contains("as JSON") {
            facts.clone()
        } else {
            Reply::text(ANSWER).with_usage(Usage::new(100, 10, 0))
        }
    })
}

#[tokio::test]
async fn a_model_names_facts_and_is_paid_for() {
    let facts = "- The museum opens at nine.\n- 周一闭馆。\n- none\n";
    let script = then(Reply::text(facts).with_usage(Usage::new(50, 20, 0)));
    let budget = DailyBudget { tokens: Some(10_000), cost_usd: None };
    let world = World { after_run: AfterRun::Model, ..World::with_budget(script, budget).await };
    let worker = world.worker();
    let run = world.remembered(&CreateRun::new("When does the museum open?")).await;
    worker.stop(PATIENCE).await;
    let memories = world.memories().await;
    let mut told: Vec<_> =
        memories.iter().map(|memory| (memory.position, memory.text.as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, [(Some(0), "The museum opens at nine."), (Some(1), "周一闭馆。")]);
    assert_eq!(run.usage, Usage::new(100, 10, 0), "what the run itself used");
    let run = world.store.scoped(&world.scope).get_run(run.run_id).await.unwrap();
    assert_eq!(run.usage, Usage::new(150, 30, 0), "and with what came after it");
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    let day = "select (input_tokens, output_tokens)::text from org_usage";
    let day: String = sqlx::query_scalar(day).fetch_one(&mut admin).await.unwrap();
    assert_eq!(day, "(150,30)");
    // It was asked about data, with nothing to call.
    let asked = world.script.requests().pop().unwrap();
    assert!(asked.tools.is_empty() && asked.messages.len() == 1, "{asked:?}");
    assert!(asked.max_tokens.is_some_and(|tokens| tokens <= 400));
}

#[tokio::test]
async fn without_facts_of_a_model_sentences_are_remembered() {
    let refused = ModelError::BadRequest { status: 400, message: "no".into() };
    for reply in [
        Reply::error(refused),
        Reply::text("Sure! Here are the facts:\n- a"),
        Reply::call("memory_write", json!({"type": "core", "text": "x"})),
    ] {
        let world = world(AfterRun::Model, then(reply)).await;
        let worker = world.worker();
        world.remembered(&CreateRun::new("When does the museum open?")).await;
        worker.stop(PATIENCE).await;
        assert_eq!(
            texts(&world.memories().await),
            [format!("When does the museum open?\n{ANSWER}")]
        );
    }
}

#[tokio::test]
async fn a_day_without_room_asks_no_model() {
    // The run's own call fits, and after it nothing that is of use.
    let budget = DailyBudget { tokens: Some(4_900), cost_usd: None };
    let script = Scripted::new(|_| Reply::text(ANSWER).with_usage(Usage::new(4_800, 10, 0)));
    let world = World { after_run: AfterRun::Model, ..World::with_budget(script, budget).await };
    let worker = world.worker();
    let mut new = CreateRun::new("When does the museum open?");
    new.llm_config =
        Some(LlmConfig { provider: None, model: None, temperature: None, max_tokens: Some(100) });
    world.remembered(&new).await;
    worker.stop(PATIENCE).await;
    assert_eq!(world.script.requests().len(), 1);
    assert_eq!(texts(&world.memories().await), [format!("When does the museum open?\n{ANSWER}")]);
}

#[tokio::test]
async fn a_worker_that_stops_hands_back_what_it_has_not_remembered() {
    let gate = Gate::new();
    let facts = Reply::text("- The museum opens at nine on weekdays.").wait(&gate);
    let world = world(AfterRun::Model, then(facts)).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("When does the museum open?")).await;
    world.ended(run_id).await;
    gate.reached().await;
    worker.stop(PATIENCE).await;
    gate.abandoned().await;
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    let tries = "select tries from runs_to_remember where held_until is null";
    let tries: i32 = sqlx::query_scalar(tries).fetch_one(&mut admin).await.unwrap();
    assert_eq!((tries, world.memories().await), (0, vec![]));
    gate.open();
    let worker = world.worker();
    world.nothing_to_remember(run_id).await;
    worker.stop(PATIENCE).await;
    assert_eq!(texts(&world.memories().await), ["The museum opens at nine on weekdays."]);
}
