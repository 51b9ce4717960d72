//! Runs of forty steps against a stand-in for each provider, which refuses what the real one is
//! reported to refuse. No real provider is asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod prefix;
mod server;
mod stand_ins;
mod window;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent::{
    parts::WorkerParts,
    redactor::Redactor,
    settings::{AfterRun, AgentSettings, RunSizeLimits, WorkerSettings},
    worker::Worker,
};
use mcp::{process::Launcher, servers::Servers};
use memory::service::MemoryService;
use model::{models::Models, settings::ModelSettings};
use protocol::{
    id::RunId,
    model_names::ModelNames,
    name::AgentId,
    page::PageLimit,
    run::{CreateRun, Run, RunLimits, RunStatus},
    scope::Scope,
    time::Zone,
};
use serde_json::json;
use server::Server;
use stand_ins::{CACHED, INPUT, OUTPUT, STAND_INS, STEPS};
use store::{
    Store,
    connect::migrate,
    scoped::Scoped,
    settings::{DailyBudget, StoreSettings},
};

const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_run_comes_to_its_end_with_every_provider() {
    let server = Server::start(stand_ins::answer).await;
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    // A budget makes us say how long an answer may be, which some refuse to hear.
    let budget = DailyBudget { tokens: Some(100_000_000), ..DailyBudget::default() };
    let settings = StoreSettings { budget, ..StoreSettings::new(&database.app_url) };
    let store = Store::connect(&settings).await.unwrap();

    let providers: BTreeMap<_, _> = STAND_INS
        .iter()
        .map(|stand_in| {
            let provider = json!({
                "kind": if stand_in.name == "anthropic" { "anthropic" } else { "openai" },
                "base_url": format!("{}/{}", server.url, stand_in.name),
                "api_key": "sk-stand-in",
                "backoff_ms": 1,
            });
            (stand_in.name, provider)
        })
        .collect();
    let prices = json!({"*": {"input": 1.0, "cached_input": 0.1, "output": 10.0}});
    let settings: ModelSettings =
        serde_json::from_value(json!({"providers": providers, "prices": prices})).unwrap();
    let models = Models::new(&settings).unwrap();
    let agents = STAND_INS.iter().map(|stand_in| {
        let agent = AgentSettings {
            model: Some(ModelNames::One(format!("{}/m", stand_in.name))),
            temperature: Some(0.2),
            limits: RunLimits { max_steps: Some(STEPS), ..RunLimits::default() },
            ..AgentSettings::default()
        };
        (stand_in.name.parse::<AgentId>().unwrap(), agent)
    });
    let workspace = tempfile::tempdir().unwrap();
    let parts = WorkerParts {
        store: store.clone(),
        models: models.clone(),
        memory: MemoryService::new(store.clone(), None),
        mcp: Arc::new(Servers::start(BTreeMap::new(), Launcher::plain(), []).await),
        redactor: Redactor::default(),
        agents: agents.collect(),
        after_run: AfterRun::Off,
        size_limits: RunSizeLimits::default(),
        has_memory: || true,
        zone: Zone::UTC,
        workspace_root: workspace.path().to_owned(),
        version: "test",
    };
    let worker = Worker::start(parts.clone(), WorkerSettings::default());

    let scope = |name: &str| Scope {
        org_id: "org_a".parse().unwrap(),
        user_id: name.parse().unwrap(),
        project_id: None,
    };
    let mut runs = Vec::new();
    for stand_in in STAND_INS {
        let new = CreateRun { agent_id: stand_in.name.parse().unwrap(), ..CreateRun::new("go") };
        let run_id =
            store.scoped(&scope(stand_in.name)).create_run(&new, None).await.unwrap().run_id;
        runs.push((stand_in, run_id));
    }
    for (stand_in, run_id) in runs {
        let scoped = store.scoped(&scope(stand_in.name));
        let run = ended(&scoped, run_id).await;
        let name = stand_in.name;
        assert_eq!(run.status, RunStatus::Completed, "{name}: {:?}", run.error);
        assert_eq!(run.output.as_deref(), Some("That was all."), "{name}");
        assert_eq!(run.step_count, STEPS, "{name}");
        let steps = u64::from(STEPS);
        assert_eq!(
            (run.usage.input_tokens, run.usage.output_tokens, run.usage.cached_tokens),
            (steps * INPUT, steps * OUTPUT, steps * CACHED),
            "{name}: what the provider counts, wherever it says it"
        );
        let cost = steps as f64
            * ((INPUT - CACHED) as f64 + CACHED as f64 * 0.1 + OUTPUT as f64 * 10.0)
            / 1e6;
        assert!((run.cost_usd - cost).abs() < 1e-9, "{name}: {} is not {cost}", run.cost_usd);
        let limit = PageLimit::try_from(500).unwrap();
        let types = ["run.warning".to_owned()];
        let page = scoped.list_events(run_id, 0, limit, &types).await.unwrap();
        let warnings: Vec<_> =
            page.items.iter().map(|event| event.payload.get().to_owned()).collect();
        let expected = usize::from(stand_in.refuses_export_trace);
        assert_eq!(warnings.len(), expected, "{name}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("tool_left_out")), "{warnings:?}");
    }
    worker.stop(PATIENCE).await;
    let taught: Vec<_> = models
        .taught()
        .into_iter()
        .map(|taught| format!("{}: {}", taught.model, taught.lessons.join("; ")))
        .collect();
    expect_test::expect![[r#"
        anthropic/m: takes no `temperature`
        azure/m: wants `max_completion_tokens` in place of `max_tokens`; takes no `temperature`; takes no `stream_options`
        litellm/m: takes no `temperature`; answers with at most 4000 tokens
        openai/m: wants `max_completion_tokens` in place of `max_tokens`; takes no `temperature`; refuses the tool `export_trace`"#]].assert_eq(&taught.join("\n"));

    // A node that starts later knows it, and is not refused.
    let fresh = Models::new(&settings).unwrap();
    let parts = WorkerParts { models: fresh.clone(), ..parts };
    let worker = Worker::start(parts, WorkerSettings::default());
    let scoped = store.scoped(&scope("openai"));
    let mut new = CreateRun { agent_id: "openai".parse().unwrap(), ..CreateRun::new("again") };
    new.limits = Some(RunLimits { max_steps: Some(2), ..RunLimits::default() });
    let run_id = scoped.create_run(&new, None).await.unwrap().run_id;
    let mut bell = scoped.watch_run(run_id);
    while !scoped.get_run(run_id).await.unwrap().status.is_terminal() {
        tokio::time::timeout(PATIENCE, bell.woken()).await.unwrap();
    }
    worker.stop(PATIENCE).await;
    assert_eq!(fresh.taught(), models.taught());
    let types = ["llm.called".to_owned()];
    let page =
        scoped.list_events(run_id, 0, PageLimit::try_from(500).unwrap(), &types).await.unwrap();
    for event in &page.items {
        let payload: serde_json::Value = serde_json::from_str(event.payload.get()).unwrap();
        assert_eq!(payload["attempts"], 1, "{payload}");
    }
    assert_eq!(page.items.len(), 2);
}

/// The run as it has ended.
async fn ended(scoped: &Scoped, run_id: RunId) -> Run {
    let mut bell = scoped.watch_run(run_id);
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            let run = scoped.get_run(run_id).await.unwrap();
            if run.status.is_terminal() {
                return run;
            }
            bell.woken().await;
        }
    });
    ended.await.expect("the run ends")
}
