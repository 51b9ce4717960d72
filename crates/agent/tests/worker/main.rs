//! The worker on a real PostgreSQL with a scripted model: this script and this input give these
//! events.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod after_run;
mod answers;
mod cancel;
mod context;
mod fork;
mod formats;
mod growth;
mod ledger;
mod limits;
mod places;
mod recovery;
mod secrets;
mod steps;
mod stream;
mod switch;
mod tenancy;
mod today;
mod tools;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent::{
    parts::WorkerParts,
    redactor::Redactor,
    settings::{AfterRun, AgentSettings, RunSizeLimits, WorkerSettings},
    worker::Worker,
};
use mcp::{process::Launcher, servers::Servers};
use memory::service::MemoryService;
use model::{models::Models, scripted::Scripted};
use protocol::{
    event::{Event, Fact},
    id::RunId,
    name::AgentId,
    page::PageLimit,
    run::{CreateRun, Run},
    scope::Scope,
    time::Zone,
};
use store::{
    Store,
    connect::migrate,
    settings::{DailyBudget, StoreSettings},
    stream::StreamCursor,
};

/// Far longer than any run here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database, a scripted model, and what a worker needs besides.
struct World {
    store: Store,
    memory: MemoryService,
    script: Scripted,
    scope: Scope,
    agent: AgentSettings,
    /// Other agents with the same settings.
    more_agents: Vec<AgentId>,
    /// Off but for the tests of what follows a run: the others speak of the run itself.
    after_run: AfterRun,
    size_limits: RunSizeLimits,
    workspace: tempfile::TempDir,
    mcp: Arc<Servers>,
    redactor: Redactor,
    database: postgres::scratch::ScratchDatabase,
}

impl World {
    async fn new(script: Scripted) -> Self {
        Self::with_budget(script, DailyBudget::default()).await
    }

    async fn with_budget(script: Scripted, budget: DailyBudget) -> Self {
        let database = postgres::scratch::database().await;
        migrate(&database.owner_url).await.unwrap();
        let settings = StoreSettings { budget, ..StoreSettings::new(&database.app_url) };
        let store = Store::connect(&settings).await.unwrap();
        Self {
            memory: MemoryService::new(store.clone(), None),
            store,
            script,
            scope: scope("user_a"),
            agent: AgentSettings::default(),
            more_agents: Vec::new(),
            after_run: AfterRun::Off,
            size_limits: RunSizeLimits::default(),
            workspace: tempfile::tempdir().unwrap(),
            mcp: Arc::new(Servers::start(BTreeMap::new(), Launcher::plain(), []).await),
            redactor: Redactor::default(),
            database,
        }
    }

    fn parts(&self) -> WorkerParts {
        let names = self.more_agents.iter().cloned().chain([AgentId::default()]);
        let agents = names.map(|name| (name, self.agent.clone())).collect();
        WorkerParts {
            store: self.store.clone(),
            models: Models::with_scripted(self.script.clone()),
            memory: self.memory.clone(),
            mcp: Arc::clone(&self.mcp),
            redactor: self.redactor.clone(),
            agents,
            after_run: self.after_run,
            size_limits: self.size_limits,
            has_memory: || true,
            zone: Zone::UTC,
            workspace_root: self.workspace.path().to_owned(),
            version: "test",
        }
    }

    fn worker(&self) -> Worker {
        self.worker_with(WorkerSettings::default())
    }

    fn worker_with(&self, settings: WorkerSettings) -> Worker {
        Worker::start(self.parts(), settings)
    }

    async fn create(&self, new: &CreateRun) -> RunId {
        self.store.scoped(&self.scope).create_run(new, None).await.unwrap().run_id
    }

    /// A run that waits for no other.
    async fn create_in(&self, session: &str) -> RunId {
        let session_key = session.parse().unwrap();
        self.create(&CreateRun { session_key, ..CreateRun::new("x") }).await
    }

    async fn ended(&self, run_id: RunId) -> Run {
        self.ended_within(run_id, PATIENCE).await
    }

    async fn ended_within(&self, run_id: RunId, patience: Duration) -> Run {
        let scoped = self.store.scoped(&self.scope);
        let mut bell = scoped.watch_run(run_id);
        tokio::time::timeout(patience, async {
            loop {
                let run = scoped.get_run(run_id).await.unwrap();
                if run.status.is_terminal() {
                    return run;
                }
                bell.woken().await;
            }
        })
        .await
        .expect("the run ends")
    }

    /// Waits until the run has an event of this type.
    async fn reached(&self, run_id: RunId, type_name: &str) {
        let scoped = self.store.scoped(&self.scope);
        let mut bell = scoped.watch_run(run_id);
        tokio::time::timeout(PATIENCE, async {
            loop {
                let types = [type_name.to_owned()];
                let page = scoped.list_events(run_id, 0, PageLimit::default(), &types);
                if !page.await.unwrap().items.is_empty() {
                    return;
                }
                bell.woken().await;
            }
        })
        .await
        .expect("the event comes");
    }

    /// Waits until the model was asked this often.
    async fn asked(&self, times: usize) {
        tokio::time::timeout(PATIENCE, self.script.wait_for_requests(times))
            .await
            .expect("the model is asked");
    }

    async fn events(&self, run_id: RunId) -> Vec<Event> {
        let limit = PageLimit::try_from(500).unwrap();
        let page = self.store.scoped(&self.scope).list_events(run_id, 0, limit, &[]).await.unwrap();
        page.items
            .iter()
            .map(|stored| serde_json::from_value(serde_json::to_value(stored).unwrap()).unwrap())
            .collect()
    }

    /// Ends the rests of all models, as time would.
    async fn end_rests(&self) {
        use sqlx::Connection;
        let mut admin = sqlx::PgConnection::connect(&self.database.admin_url).await.unwrap();
        let query = "update model_breakers set rests_until = clock_timestamp()";
        sqlx::query(query).execute(&mut admin).await.unwrap();
    }

    /// How many rows there are about turns and about breakers.
    async fn rows_about_models(&self) -> (i64, i64) {
        use sqlx::Connection;
        let mut admin = sqlx::PgConnection::connect(&self.database.admin_url).await.unwrap();
        let query =
            "select (select count(*) from provider_turns), (select count(*) from model_breakers)";
        sqlx::query_as(query).fetch_one(&mut admin).await.unwrap()
    }

    async fn frames(&self, run_id: RunId) -> Vec<store::stream::Frame> {
        let scoped = self.store.scoped(&self.scope);
        scoped.read_frames(run_id, StreamCursor::default(), true).await.unwrap().frames
    }

    /// One run from its creation to its end, as lines.
    async fn story(&self, new: &CreateRun) -> String {
        let worker = self.worker();
        let run_id = self.create(new).await;
        self.ended(run_id).await;
        worker.stop(PATIENCE).await;
        told(&self.events(run_id).await)
    }
}

fn scope(user: &str) -> Scope {
    Scope { org_id: "org_a".parse().unwrap(), user_id: user.parse().unwrap(), project_id: None }
}

/// Events as lines, without what differs from time to time.
fn told(events: &[Event]) -> String {
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!(event.seq, seq, "a gap");
    }
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = String::new();
    for event in events {
        let mut line = match &event.fact {
            Fact::RunStarted { input, model, .. } => format!("started {input:?} {model}"),
            Fact::RunResumed { from_step, reason, epoch } => {
                format!("resumed epoch {epoch} from {from_step} {reason:?}")
            }
            Fact::StepStarted { step } => format!("step {step}"),
            Fact::MemoryRecalled { query, hits, .. } => {
                let hits: Vec<_> = hits.iter().map(|hit| hit.snippet.as_str()).collect();
                format!("recalled {query:?} {hits:?}")
            }
            Fact::ContextCompacted { through_step, method, .. } => {
                format!("compacted through {through_step} {method:?}")
            }
            Fact::LlmCalled { content, tool_calls, finish_reason, usage, attempts, .. } => {
                let asks: Vec<_> =
                    tool_calls.iter().map(|call| format!("{} {}", call.tool, call.args)).collect();
                format!(
                    "model {content:?} {asks:?} {finish_reason:?} tokens {} attempts {attempts}",
                    usage.total_tokens
                )
            }
            Fact::ToolCalled { tool, args, effect, .. } => format!("call {tool} {args} {effect:?}"),
            Fact::ToolResult { tool, result, outcome, .. } => {
                format!("result {tool} {outcome:?} {result}")
            }
            Fact::StepCompleted { step, result_type, .. } => {
                format!("step {step} completed {result_type:?}")
            }
            Fact::RunWarning { code, message, .. } => format!("warning {code} {message}"),
            Fact::RunCompleted { output, usage, .. } => {
                format!("completed {output:?} tokens {}", usage.total_tokens)
            }
            Fact::RunFailed { error, .. } => format!("failed {:?} {}", error.code, error.message),
            Fact::RunCancelled { by, reason, stopped, unknown } => format!(
                "cancelled by {by} {reason:?} stopped {} unknown {}",
                stopped.len(),
                unknown.len()
            ),
        };
        // Ids differ from run to run: they are numbered in the order of their appearance.
        for prefix in ["mem_", "call_", "run_"] {
            let ids: Vec<_> = line
                .match_indices(prefix)
                .filter_map(|(at, _)| line.get(at..at + prefix.len() + 26))
                .filter(|id| id[prefix.len()..].chars().all(|c| c.is_ascii_alphanumeric()))
                .map(str::to_owned)
                .collect();
            for id in ids {
                let next = numbers.len() + 1;
                let number = *numbers.entry(id.clone()).or_insert(next);
                line = line.replace(&id, &format!("#{number}"));
            }
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}
