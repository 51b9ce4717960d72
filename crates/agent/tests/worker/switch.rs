//! Runs whose agent names several models: which one is asked, by what kind of failure the next one is,
//! and what all nodes know of models that fail.

use model::{
    error::{ModelError, Phase},
    models::Models,
    scripted::{Gate, Reply, Scripted},
    settings::ProviderLimits,
};
use protocol::{
    event::{CacheLoss, Fact, ModelSwitch, SwitchReason},
    message::Usage,
    model_names::ModelNames,
    run::{CreateRun, LlmConfig, RunErrorCode, RunLimits, RunStatus},
};
use serde_json::json;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use store::breakers::BREAKER_FAILURES;

use crate::{PATIENCE, World, scope};

const LIST: [&str; 2] = ["scripted/a", "scripted/b"];

fn several(names: &[&str]) -> Option<ModelNames> {
    Some(ModelNames::Several(names.iter().map(|&name| name.to_owned()).collect()))
}

fn down() -> Reply {
    let message = "upstream".to_owned();
    Reply::error(ModelError::Unavailable { status: Some(503), retry_after: None, message })
}

async fn world(script: Scripted) -> World {
    let mut world = World::new(script).await;
    world.agent.model = several(&LIST);
    world
}

/// The switches of a run, and what its prompts lost caches by.
async fn switches(world: &World, run: protocol::id::RunId) -> (Vec<ModelSwitch>, Vec<CacheLoss>) {
    let (mut switches, mut losses) = (Vec::new(), Vec::new());
    for event in world.events(run).await {
        if let Fact::RunWarning { switch, cause, .. } = event.fact {
            switches.extend(switch);
            losses.extend(cause);
        }
    }
    (switches, losses)
}

fn from_a_to_b(reason: SwitchReason) -> Vec<ModelSwitch> {
    vec![ModelSwitch { from: LIST[0].into(), to: LIST[1].into(), reason }]
}

#[tokio::test]
async fn a_run_goes_on_with_the_next_model_and_stays_with_it() {
    let search = |query: &str| Reply::call("memory_search", json!({"query": query}));
    let replies = [search("x"), down(), down(), down(), down(), search("y"), Reply::text("done")];
    let script = Scripted::in_order(replies);
    let world = world(script.clone()).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    let run = world.ended(run_id).await;
    worker.stop(PATIENCE).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(run.model.as_deref(), Some("scripted/b"), "the model that it has now");
    let asked: Vec<String> = script.requests().into_iter().map(|request| request.model).collect();
    assert_eq!(asked, ["a", "a", "a", "a", "a", "b", "b"], "four attempts, and never again");
    let (switches, losses) = switches(&world, run_id).await;
    assert_eq!(switches, from_a_to_b(SwitchReason::Unavailable));
    assert_eq!(losses, [CacheLoss::ModelSwitched], "the cause of the lost cache is named");
}

#[tokio::test]
async fn what_a_model_has_said_before_it_failed_is_void() {
    let script = Scripted::new(|request| match request.model.as_str() {
        "a" => Reply::text("half").fail(ModelError::Quota { message: "no credit".into() }),
        _ => Reply::text("whole"),
    });
    let world = world(script).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    assert_eq!(world.ended(run_id).await.output.as_deref(), Some("whole"));
    let frames = world.frames(run_id).await;
    worker.stop(PATIENCE).await;
    let resets = frames.iter().filter(|frame| matches!(frame, store::stream::Frame::Reset { .. }));
    assert_eq!(resets.count(), 1);
    assert_eq!(switches(&world, run_id).await.0, from_a_to_b(SwitchReason::Quota));
}

#[tokio::test]
async fn a_request_that_is_itself_at_fault_goes_to_no_other_model() {
    let script = Scripted::new(|_| {
        Reply::error(ModelError::BadRequest { status: 400, message: "bad".into() })
    });
    let world = world(script.clone()).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    let run = world.ended(run_id).await;
    worker.stop(PATIENCE).await;
    assert_eq!(run.error.map(|error| error.code), Some(RunErrorCode::ModelError));
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn a_run_fails_with_the_last_error_once_all_models_have() {
    let script = Scripted::new(|request| {
        let message = request.model.clone();
        Reply::error(match request.model.as_str() {
            "a" => ModelError::Auth { message },
            _ => ModelError::Refused { message },
        })
    });
    let world = world(script.clone()).await;
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    let error = world.ended(run_id).await.error.unwrap();
    worker.stop(PATIENCE).await;
    assert_eq!(error.code, RunErrorCode::Refused);
    assert!(error.message.starts_with("scripted/b: "), "{}", error.message);
    assert_eq!(script.requests().len(), 2, "each one once");
    assert_eq!(switches(&world, run_id).await.0, from_a_to_b(SwitchReason::Auth));
}

#[tokio::test]
async fn a_request_may_name_its_own_list_and_a_silent_model_is_left_at_once() {
    let script = Scripted::new(|request| match request.model.as_str() {
        "slow" => Reply::error(ModelError::Timeout {
            phase: Phase::FirstByte,
            after: Duration::from_secs(300),
        }),
        _ => Reply::text("done"),
    });
    let world = World::new(script.clone()).await;
    let worker = world.worker();
    let config =
        LlmConfig { model: several(&["scripted/slow", "scripted/fast"]), ..LlmConfig::default() };
    let run_id = world.create(&CreateRun { llm_config: Some(config), ..CreateRun::new("x") }).await;
    assert_eq!(world.ended(run_id).await.status, RunStatus::Completed);
    worker.stop(PATIENCE).await;
    let asked: Vec<String> = script.requests().into_iter().map(|request| request.model).collect();
    assert_eq!(asked, ["slow", "fast"], "not asked again with twice the time");
}

#[tokio::test]
async fn two_nodes_know_of_one_breaker_and_one_of_them_asks_on_trial() {
    let (is_down, asked_while_open) =
        (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let trial = Gate::new();
    let script = Scripted::new({
        let (is_down, asked, trial) = (is_down.clone(), asked_while_open.clone(), trial.clone());
        move |request| match request.model.as_str() {
            "a" if is_down.load(Ordering::SeqCst) => {
                asked.fetch_add(1, Ordering::SeqCst);
                down()
            }
            "a" => {
                asked.fetch_add(1, Ordering::SeqCst);
                Reply::text("by a").wait(&trial)
            }
            _ => Reply::text("by b"),
        }
    });
    let world = world(script).await;
    let (one, other) = (world.worker(), world.worker());
    // Ten attempts that fail open the breaker; each run makes four.
    let needed = usize::try_from(BREAKER_FAILURES).unwrap();
    for n in 0..needed.div_ceil(4) {
        let run_id = world.create_in(&format!("s_{n}")).await;
        assert_eq!(world.ended(run_id).await.output.as_deref(), Some("by b"));
    }
    let breakers = world.store.breakers().await.unwrap();
    assert!(breakers.len() == 1 && breakers[0].is_open, "{breakers:?}");
    let before = asked_while_open.swap(0, Ordering::SeqCst);
    assert_eq!(before, needed, "the last attempts were not made any more");

    // Both nodes have heard of it within a second.
    tokio::time::timeout(PATIENCE, async {
        loop {
            let quiet = world.create_in("s_quiet").await;
            world.ended(quiet).await;
            if switches(&world, quiet).await.0.is_empty() {
                break;
            }
        }
    })
    .await
    .unwrap();
    asked_while_open.store(0, Ordering::SeqCst);
    for n in 0..20 {
        let run_id = world.create_in(&format!("s_open_{n}")).await;
        assert_eq!(world.ended(run_id).await.output.as_deref(), Some("by b"));
    }
    assert_eq!(asked_while_open.load(Ordering::SeqCst), 0, "nobody asks it");

    // Its rest is over: one run asks it, the others go on with the next model meanwhile.
    is_down.store(false, Ordering::SeqCst);
    world.end_rests().await;
    let first_on_trial = async {
        for n in 0.. {
            let run_id = world.create_in(&format!("s_trial_{n}")).await;
            tokio::select! {
                () = trial.reached() => return run_id,
                _ = world.ended(run_id) => {} // Its node has not heard yet.
            }
        }
        unreachable!("it ends by returning")
    };
    let on_trial = tokio::time::timeout(PATIENCE, first_on_trial).await.unwrap();
    for n in 0..20 {
        let run_id = world.create_in(&format!("s_beside_{n}")).await;
        assert_eq!(world.ended(run_id).await.output.as_deref(), Some("by b"));
    }
    assert_eq!(asked_while_open.load(Ordering::SeqCst), 1, "one trial");
    trial.open();
    assert_eq!(world.ended(on_trial).await.output.as_deref(), Some("by a"));
    assert_eq!(world.store.breakers().await.unwrap(), [], "it is well again");
    one.stop(PATIENCE).await;
    other.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_run_with_one_model_waits_for_it_says_so_and_can_be_cancelled() {
    let script = Scripted::new(|_| Reply::text("done"));
    let world = World::new(script.clone()).await;
    world.store.model_rests("scripted/script", Duration::from_secs(60)).await.unwrap();
    let worker = world.worker();
    let cancelled = world.create_in("s_1").await;
    let late = CreateRun {
        session_key: "s_2".parse().unwrap(),
        limits: Some(RunLimits { max_wall_s: Some(3), ..RunLimits::default() }),
        ..CreateRun::new("x")
    };
    let late = world.create(&late).await;
    let waits = world.create_in("s_3").await;
    for run_id in [cancelled, waits] {
        world.reached(run_id, "run.warning").await;
    }
    let scoped = world.store.scoped(&world.scope);
    scoped.cancel_run(cancelled, "user_a", None).await.unwrap();
    assert_eq!(world.ended(cancelled).await.status, RunStatus::Cancelled);
    let error = world.ended(late).await.error.unwrap();
    assert_eq!(error.code, RunErrorCode::TimeLimit);
    assert_eq!(script.requests().len(), 0);
    world.end_rests().await;
    let run = world.ended(waits).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(run.output.as_deref(), Some("done"));
    worker.stop(PATIENCE).await;
    let told = world.events(waits).await.into_iter().filter_map(|event| match event.fact {
        Fact::RunWarning { code, .. } => Some(code),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["model_waiting"]);
}

#[tokio::test]
async fn a_pause_that_a_provider_asks_of_one_run_holds_for_all() {
    let has_said = Arc::new(AtomicBool::new(false));
    let script = Scripted::new({
        let has_said = has_said.clone();
        move |request| match request.model.as_str() {
            "a" if !has_said.swap(true, Ordering::SeqCst) => {
                Reply::error(ModelError::RateLimited {
                    retry_after: Some(Duration::from_secs(40)),
                    message: "slow down".into(),
                })
            }
            name => Reply::text(format!("by {name}")),
        }
    });
    let world = world(script.clone()).await;
    let worker = world.worker();
    for n in 0..5 {
        let run_id = world.create_in(&format!("s_{n}")).await;
        assert_eq!(world.ended(run_id).await.output.as_deref(), Some("by b"));
    }
    worker.stop(PATIENCE).await;
    let asked = script.requests().into_iter().filter(|request| request.model == "a");
    assert_eq!(asked.count(), 1);
}

#[tokio::test]
async fn a_model_that_is_well_and_has_no_limits_costs_no_statement() {
    let world = world(Scripted::new(|_| Reply::text("done"))).await;
    let worker = world.worker();
    for n in 0..5 {
        let run_id = world.create_in(&format!("s_{n}")).await;
        world.ended(run_id).await;
    }
    worker.stop(PATIENCE).await;
    let (turns, breakers) = world.rows_about_models().await;
    assert_eq!((turns, breakers), (0, 0));
}

/// Two organisations, one of which has three times as many runs, on two nodes.
#[tokio::test]
async fn organisations_share_a_providers_limit_evenly_whoever_asks_more() {
    // Slow enough that runs come faster than they are served, however busy the machine is.
    const REQUESTS_PER_MINUTE: u64 = 900;
    const FEW: usize = 60;
    let served = Arc::new(Mutex::new(Vec::<String>::new()));
    let script = Scripted::new({
        let served = served.clone();
        move |request| {
            let asked = format!("{:?}", request.messages);
            let org = if asked.contains("of the large one") { "large" } else { "small" };
            served.lock().unwrap().push(org.to_owned());
            Reply::text("done").with_usage(Usage::new(10, 1, 0))
        }
    });
    let world = World::new(script.clone()).await;
    let limits =
        ProviderLimits { requests_per_minute: Some(REQUESTS_PER_MINUTE), tokens_per_minute: None };
    let node = || {
        let mut parts = world.parts();
        parts.models = Models::with_scripted_limits(script.clone(), limits);
        agent::worker::Worker::start(parts, agent::settings::WorkerSettings::default())
    };
    let mut small = scope("user_a");
    small.org_id = "org_small".parse().unwrap();
    let mut runs = Vec::new();
    for n in 0..FEW * 3 {
        let session_key = format!("s_{n}").parse().unwrap();
        let new = CreateRun { session_key, ..CreateRun::new("a task of the large one") };
        runs.push((world.scope.clone(), world.create(&new).await));
    }
    for n in 0..FEW {
        let session_key = format!("s_{n}").parse().unwrap();
        let new = CreateRun { session_key, ..CreateRun::new("a task") };
        let run = world.store.scoped(&small).create_run(&new, None).await.unwrap();
        runs.push((small.clone(), run.run_id));
    }
    let began = Instant::now();
    let (one, other) = (node(), node());
    let (last_small, run_id) = runs.last().unwrap().clone();
    tokio::time::timeout(PATIENCE, async {
        let scoped = world.store.scoped(&last_small);
        let mut bell = scoped.watch_run(run_id);
        while !scoped.get_run(run_id).await.unwrap().status.is_terminal() {
            bell.woken().await;
        }
    })
    .await
    .unwrap();
    let served = served.lock().unwrap().clone();
    one.stop(Duration::ZERO).await;
    other.stop(Duration::ZERO).await;

    // While both waited, each was served alike.
    let first = served.iter().position(|org| org == "large").unwrap();
    let last = served.iter().rposition(|org| org == "small").unwrap();
    let both = &served[first..=last];
    assert!(both.len() > FEW, "the small organisation was served before the large one came");
    let of_small = both.iter().filter(|org| *org == "small").count();
    let share = of_small as f64 / both.len() as f64;
    println!("{of_small} of {} turns were the small organisation's", both.len());
    assert!((0.45..=0.55).contains(&share), "{share}");
    // And together no more than the limit and half a second's worth.
    let most = (began.elapsed().as_secs_f64() + 0.5) * REQUESTS_PER_MINUTE as f64 / 60.0 + 1.0;
    assert!((served.len() as f64) <= most, "{} of {most}", served.len());
}

/// Two models that fail by a schedule, two nodes, two organisations: each quarter of the answers is one
/// phase. `SWITCH_RUNS=5000` is the long form.
#[tokio::test]
async fn no_run_is_lost_to_models_that_fail_by_turns_and_none_is_asked_while_its_breaker_is_open() {
    const RUNS: usize = 200;
    const AT_ONCE: u32 = 16;
    let runs = std::env::var("SWITCH_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let schedule = Arc::new(Schedule::new(runs));
    let script = Scripted::new({
        let schedule = schedule.clone();
        move |request| schedule.reply(&request.model)
    });
    let world = world(script).await;
    let settings = agent::settings::WorkerSettings {
        concurrency: Some(AT_ONCE),
        ..agent::settings::WorkerSettings::default()
    };
    let mut other_org = world.scope.clone();
    other_org.org_id = "org_b".parse().unwrap();
    let mut created = Vec::new();
    for n in 0..runs {
        let session_key = format!("s_{n}").parse().unwrap();
        let scope = if n % 2 == 0 { &world.scope } else { &other_org };
        let new = CreateRun { session_key, ..CreateRun::new("x") };
        let run = world.store.scoped(scope).create_run(&new, None).await.unwrap();
        created.push((scope.clone(), run.run_id));
    }
    let (one, other) = (world.worker_with(settings.clone()), world.worker_with(settings));
    let began = Instant::now();
    let watch_breakers = async {
        let mut bell = world.store.watch_breakers();
        let mut has_ended_rests = false;
        loop {
            bell.woken().await;
            for breaker in world.store.breakers().await.unwrap() {
                if breaker.is_open && !breaker.rests.is_zero() {
                    schedule.opened(&breaker.model, u64::from(AT_ONCE) * 4);
                }
            }
            // The first one is up again: its rest is over as soon as the other is to go down.
            if schedule.phase() >= 2 && !std::mem::replace(&mut has_ended_rests, true) {
                world.end_rests().await;
            }
        }
    };
    let all_end = async {
        for (scope, run_id) in &created {
            let scoped = world.store.scoped(scope);
            let mut bell = scoped.watch_run(*run_id);
            while !scoped.get_run(*run_id).await.unwrap().status.is_terminal() {
                bell.woken().await;
            }
        }
    };
    tokio::select! {
        () = watch_breakers => {}
        ended = tokio::time::timeout(PATIENCE * 10, all_end) => ended.unwrap(),
    }
    one.stop(PATIENCE).await;
    other.stop(PATIENCE).await;
    let mut completed = 0;
    for (scope, run_id) in &created {
        let run = world.store.scoped(scope).get_run(*run_id).await.unwrap();
        completed += usize::from(run.status == RunStatus::Completed);
    }
    let (failed, late) = schedule.asked_in_vain();
    println!("{completed} of {runs} completed in {:?}; {failed} attempts failed", began.elapsed());
    assert_eq!(completed, runs, "none is lost");
    // One for each rest that ended while the model was still down.
    let trials = began.elapsed().as_secs() / store::breakers::BREAKER_OPEN.as_secs();
    assert!(late <= trials, "{late} attempts behind an open breaker");
}

/// When each of two models is down: in the second and in the last quarter of all answers.
struct Schedule {
    runs: u64,
    answers: std::sync::atomic::AtomicU64,
    failed: std::sync::atomic::AtomicU64,
    late: std::sync::atomic::AtomicU64,
    /// By model, how many answers there are when everybody has heard that its breaker is open.
    quiet_from: Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Schedule {
    fn new(runs: usize) -> Self {
        Self {
            runs: runs as u64,
            answers: Default::default(),
            failed: Default::default(),
            late: Default::default(),
            quiet_from: Mutex::default(),
        }
    }

    fn phase(&self) -> u64 {
        self.answers.load(Ordering::SeqCst) * 4 / self.runs
    }

    fn reply(&self, model: &str) -> Reply {
        let is_down = matches!((self.phase(), model), (1, "a") | (3, "b"));
        if !is_down {
            self.answers.fetch_add(1, Ordering::SeqCst);
            return Reply::text("done");
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        let quiet = self.quiet_from.lock().unwrap().get(&format!("scripted/{model}")).copied();
        if quiet.is_some_and(|from| self.answers.load(Ordering::SeqCst) >= from) {
            self.late.fetch_add(1, Ordering::SeqCst);
        }
        down()
    }

    fn opened(&self, model: &str, answers_under_way: u64) {
        let from = self.answers.load(Ordering::SeqCst) + answers_under_way;
        self.quiet_from.lock().unwrap().entry(model.to_owned()).or_insert(from);
    }

    /// Attempts that failed, and those of them that should not have been made.
    fn asked_in_vain(&self) -> (u64, u64) {
        (self.failed.load(Ordering::SeqCst), self.late.load(Ordering::SeqCst))
    }
}

/// A prompt may be what makes a model fail. The run that asks on trial again and again comes to an end.
#[tokio::test]
async fn a_run_under_which_its_model_rests_each_time_fails() {
    let script = Scripted::new(|_| down());
    let world = World::new(script.clone()).await;
    for _ in 0..BREAKER_FAILURES {
        world.store.model_failed("scripted/script", &world.scope.org_id).await.unwrap();
    }
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("x")).await;
    let run = tokio::select! {
        run = world.ended(run_id) => run,
        () = async {
            let mut changes = world.store.watch_breakers();
            loop {
                world.end_rests().await;
                changes.woken().await;
            }
        } => unreachable!(),
    };
    worker.stop(PATIENCE).await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().code, RunErrorCode::ModelError);
    assert_eq!(script.requests().len(), 4, "asked on trial, and three times again");
}
