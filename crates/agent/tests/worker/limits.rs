//! What ends a run that would not end by itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use agent::settings::RunSizeLimits;
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use model::{
    error::ModelError,
    scripted::{Gate, Reply, Scripted},
};
use protocol::{
    event::Fact,
    id::RunId,
    message::Usage,
    run::{CreateRun, LlmConfig, Run, RunErrorCode, RunLimits, RunStatus},
};
use serde_json::json;
use store::settings::DailyBudget;

use crate::World;

/// The code with which a run ends that a looping model works on.
async fn check(reply: Reply, limits: RunLimits, want: RunErrorCode, words: &str) {
    let world = World::new(Scripted::new(move |_| reply.clone())).await;
    let worker = world.worker();
    let mut new = CreateRun::new("x");
    new.limits = Some(limits);
    let run = world.ended(world.create(&new).await).await;
    worker.stop(crate::PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!((run.status, error.code), (RunStatus::Failed, want), "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
    let last = world.events(run.run_id).await.pop().unwrap();
    assert_eq!(last.fact.type_name(), "run.failed");
}

fn looping() -> Reply {
    Reply::call("read_file", json!({"path": "a"})).with_usage(Usage::new(60, 40, 0))
}

#[tokio::test]
async fn steps() {
    let limits = RunLimits { max_steps: Some(3), ..RunLimits::default() };
    check(looping(), limits, RunErrorCode::StepLimit, "`max_steps` = 3").await;
}

#[tokio::test]
async fn a_bound_on_money_that_cannot_hold_is_a_warning() {
    let script = [looping(), Reply::text("done")];
    let world = World::new(Scripted::in_order(script)).await;
    let limits = RunLimits { max_cost_usd: Some(1.0), ..RunLimits::default() };
    let story = world.story(&CreateRun { limits: Some(limits), ..CreateRun::new("x") }).await;
    let warning =
        "warning price_unknown a bound on money is set, and `scripted/script` has no price";
    assert_eq!(story.matches(warning).count(), 1, "{story}");
}

#[tokio::test]
async fn tokens() {
    // A step of this model uses more than the call was told to: what is used is counted.
    let reply = looping().with_usage(Usage::new(60, 9_940, 0));
    let limits = RunLimits { max_tokens: Some(25_000), ..RunLimits::default() };
    check(reply, limits, RunErrorCode::TokenLimit, "30000 are used").await;
}

#[tokio::test]
async fn tokens_before_the_call_that_would_exceed_them() {
    let limits = RunLimits { max_tokens: Some(250), ..RunLimits::default() };
    check(looping(), limits, RunErrorCode::TokenLimit, "would be exceeded: 0 are used").await;
}

#[tokio::test]
async fn time() {
    let limits = RunLimits { max_wall_s: Some(1), ..RunLimits::default() };
    let reply = Reply::text("slow").wait(&Gate::new());
    check(reply, limits, RunErrorCode::TimeLimit, "`max_wall_s` = 1").await;
}

/// A run of steps that read a file of so many bytes, and its end.
async fn reading(bytes: usize, size_limits: RunSizeLimits) -> (World, Run) {
    let asked = AtomicUsize::new(0);
    let mut world = World::new(Scripted::new(move |request| {
        if request.tools.is_empty() {
            return Reply::text("It read on.");
        }
        let n = asked.fetch_add(1, Ordering::SeqCst);
        if n == 8 {
            return Reply::text("done");
        }
        // Other arguments each time: it gets on.
        Reply::call("read_file", json!({"path": "large", "limit": 100 + n}))
            .and_call("read_file", json!({"path": "large", "limit": 200 + n}))
    }))
    .await;
    world.size_limits = size_limits;
    world.agent.context_tokens = Some(32_000); // So a prompt shows a part of a result.
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("large"), "x".repeat(bytes)).unwrap();
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(crate::PATIENCE).await;
    (world, run)
}

#[tokio::test]
async fn size() {
    let limits = RunSizeLimits { run_bytes: 1_000_000, ..RunSizeLimits::default() };
    let (world, run) = reading(100_000, limits).await;
    let error = run.error.unwrap();
    assert_eq!((run.status, error.code), (RunStatus::Failed, RunErrorCode::SizeLimit));
    assert!(error.message.contains("`run_bytes` = 1000000 is reached"), "{}", error.message);
    // A result is in an event, what a prompt shows of it in a message; one more than the bound may have
    // been on its way.
    let events = world.events(run.run_id).await;
    let results =
        events.iter().filter(|event| matches!(event.fact, Fact::ToolResult { .. })).count();
    assert!((7..=8).contains(&results), "{results}");

    let (_, run) = reading(100_000, RunSizeLimits::default()).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
}

#[tokio::test]
async fn results_of_a_step_together() {
    let limits = RunSizeLimits { step_results_bytes: 150_000, ..RunSizeLimits::default() };
    let (world, run) = reading(100_000, limits).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    let events = world.events(run.run_id).await.into_iter();
    let results: Vec<_> = events
        .filter_map(|event| match event.fact {
            Fact::ToolResult { result, truncated, .. } => Some((result, truncated)),
            _ => None,
        })
        .collect();
    assert_eq!(results.len(), 16);
    for (index, (result, truncated)) in results.iter().enumerate() {
        assert_eq!(*truncated, index % 2 == 1, "the second of each step is cut");
        let text = result.to_string();
        assert_eq!(text.contains("[… cut: 100"), *truncated, "{index}");
        assert!(text.len() > if *truncated { 49_000 } else { 100_000 }, "{}", text.len());
    }
}

#[tokio::test]
async fn no_progress() {
    check(looping(), RunLimits::default(), RunErrorCode::NoProgress, "same").await;
}

#[tokio::test]
async fn only_impossible_calls() {
    let reply = Reply::call("nothing_like_it", json!({}));
    check(reply, RunLimits::default(), RunErrorCode::ModelError, "could be made in 3 steps").await;
}

#[tokio::test]
async fn a_model_that_refuses_the_key() {
    let reply = Reply::error(ModelError::Auth { message: "HTTP 401".into() });
    check(reply, RunLimits::default(), RunErrorCode::ModelAuth, "scripted/script").await;
}

#[tokio::test]
async fn a_model_that_never_finishes_its_answer() {
    let reply = Reply::truncated("half an ans");
    check(reply, RunLimits::default(), RunErrorCode::ModelError, "broke off").await;
}

#[tokio::test]
async fn a_model_that_is_not_configured() {
    let world = World::new(Scripted::in_order([])).await;
    let worker = world.worker();
    let mut new = CreateRun::new("x");
    new.llm_config = Some(LlmConfig { provider: Some("nowhere".into()), ..LlmConfig::default() });
    let run = world.ended(world.create(&new).await).await;
    worker.stop(crate::PATIENCE).await;
    let error = run.error.unwrap();
    assert_eq!(error.code, RunErrorCode::ModelError);
    assert!(error.message.contains("nowhere"), "{}", error.message);
    let story = crate::told(&world.events(run.run_id).await);
    assert!(story.starts_with("started \"x\" nowhere/default\nfailed"), "{story}");
}

/// Tokens of every answer in these tests.
const ANSWER_TOKENS: u32 = 15_000;

#[tokio::test]
async fn runs_at_once_never_exceed_the_budget_of_their_organisation() {
    const BUDGET: u64 = 100_000;
    let gate = Gate::new();
    let reply = Reply::text("done").wait(&gate);
    let script = Scripted::new(move |request| {
        assert_eq!(request.max_tokens, Some(ANSWER_TOKENS));
        // As much as the call may use at the very most.
        let usage = Usage::new(request.estimated_tokens(), ANSWER_TOKENS.into(), 0);
        reply.clone().with_usage(usage)
    });
    let budget = DailyBudget { tokens: Some(BUDGET), cost_usd: None };
    let mut world = World::with_budget(script, budget).await;
    world.agent.max_tokens = Some(ANSWER_TOKENS);
    let sessions: Vec<_> = (0..20).map(|run| format!("s_{run}")).collect();
    let runs = join_all(sessions.iter().map(|session| world.create_in(session))).await;
    let worker = world.worker();

    // All that may ask have asked, and none has an answer, when the others have failed.
    world.asked(1).await;
    let estimate = world.script.requests()[0].estimated_tokens();
    let most = u64::from(ANSWER_TOKENS) + estimate + estimate.div_ceil(3);
    let may_ask = usize::try_from(BUDGET / most).unwrap();
    assert!((2..20).contains(&may_ask), "{may_ask}");
    world.asked(may_ask).await;
    let (first, others) = failed_first(&world, runs, may_ask).await;
    for run in others {
        let error = run.error.unwrap();
        assert_eq!(error.code, RunErrorCode::TokenLimit, "{}", error.message);
        let words = "the organisation's daily budget `tokens_per_org_per_day` = 100000";
        assert!(error.message.contains(words), "{}", error.message);
    }
    gate.open();
    let mut used = 0;
    for run_id in first {
        let run = world.ended(run_id).await;
        assert_eq!(run.status, RunStatus::Completed);
        used += run.usage.total_tokens;
    }
    assert!(used <= BUDGET, "{used}");
    assert_eq!(world.script.requests().len(), may_ask, "nobody else asked");

    // What was set aside and not used is there for whoever comes now.
    let left = BUDGET - used;
    let last = world.ended(world.create_in("s_last").await).await;
    worker.stop(crate::PATIENCE).await;
    let passes = left >= most;
    assert_eq!(last.status == RunStatus::Completed, passes, "{left} left, {most} needed");
}

/// Waits until all but so many runs have failed; answers who has not ended, and the failed.
async fn failed_first(world: &World, runs: Vec<RunId>, open: usize) -> (Vec<RunId>, Vec<Run>) {
    let mut ends: FuturesUnordered<_> = runs.iter().map(|run_id| world.ended(*run_id)).collect();
    let mut failed = Vec::new();
    while failed.len() < runs.len() - open {
        failed.push(ends.next().await.unwrap());
    }
    drop(ends);
    let has_failed = |run_id: &RunId| failed.iter().any(|run| run.run_id == *run_id);
    let others = runs.iter().copied().filter(|run_id| !has_failed(run_id)).collect();
    (others, failed)
}

#[tokio::test]
async fn a_call_that_fails_costs_the_organisation_nothing() {
    let script = Scripted::in_order([
        Reply::error(ModelError::Auth { message: "HTTP 401".into() }),
        Reply::text("done").with_usage(Usage::new(100, 100, 0)),
        Reply::text("done").with_usage(Usage::new(100, 100, 0)),
    ]);
    let budget = DailyBudget { tokens: Some(20_000), cost_usd: Some(0.0) };
    let mut world = World::with_budget(script, budget).await;
    world.agent.max_tokens = Some(ANSWER_TOKENS);
    let worker = world.worker();
    for status in [RunStatus::Failed, RunStatus::Completed, RunStatus::Completed] {
        let run = world.ended(world.create_in("s_last").await).await;
        assert_eq!(run.status, status, "{:?}", run.error);
    }
    worker.stop(crate::PATIENCE).await;
}

#[tokio::test]
async fn an_answer_is_bounded_by_what_the_run_has_left() {
    let world = World::new(Scripted::in_order([Reply::text("done")])).await;
    let worker = world.worker();
    let mut new = CreateRun::new("x");
    new.limits = Some(RunLimits { max_tokens: Some(5_000), ..RunLimits::default() });
    let run = world.ended(world.create(&new).await).await;
    worker.stop(crate::PATIENCE).await;
    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    let request = world.script.requests().remove(0);
    let estimate = request.estimated_tokens();
    let left = 5_000 - estimate - estimate.div_ceil(3);
    assert_eq!(request.max_tokens.map(u64::from), Some(left.min(4_096)));
}
