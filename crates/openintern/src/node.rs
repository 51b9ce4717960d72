//! One process of the server side: what `dev`, `serve` and `worker` have in common. Starts the parts
//! in the order of their needs and stops them in the reverse.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use agent::{
    parts::WorkerParts,
    redactor::{Reach, Redactor},
    settings::{AgentSettings, agent_infos},
    worker::Worker,
};
use mcp::{process::Launcher, servers::Servers, status::ServerStatus};
use memory::service::{MemoryService, reindex::ReindexError};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use model::{
    embedding::{Embedder, HASHED, MULTILINGUAL},
    error::ResolveError,
    models::Models,
};
use protocol::name::AgentId;
use server::{
    app::{Dependencies, Mask, ModelFault},
    auth::authenticator::Authenticator,
    listen::serve,
    settings::{ServerSettings, TenantLimits},
};
use store::{
    Store,
    connect::{ConnectError, migrate},
    memories::{VECTOR_DIMENSIONS, reindex::Stale},
    settings::StoreSettings,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{interval, sleep},
};

use crate::{
    cli::NodeArgs,
    config::{AuthMode, Config, DatabaseUrls},
    exit::{Exit, Failure},
    machine,
    shutdown::Shutdown,
};

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name that says there is no embedder: memories are found by their words alone.
pub(crate) const NO_EMBEDDER: &str = "none";
/// How long current runs may go on after we are told to stop; then they are handed back.
const WORKER_GRACE: Duration = Duration::from_secs(25);
/// How often the metrics recorder drops samples that it has aggregated.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// How long a node rests between looking for chunks without a vector.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How many times as long as it works a node rests between batches: searches come first.
const REST: u32 = 1;
/// The same while it executes runs.
const REST_BUSY: u32 = 9;
/// The same while it compares memories, which nobody waits for.
const CONSOLIDATION_REST: u32 = 4;

/// The parts of a process that runs.
pub(crate) struct Node {
    store: Store,
    memory: MemoryService,
    models: Models,
    agents: BTreeMap<AgentId, AgentSettings>,
    authenticator: Authenticator,
    redactor: Redactor,
    workspace_root: PathBuf,
    allowed_hosts: Vec<String>,
    tenants: TenantLimits,
    metrics: PrometheusHandle,
    upkeep: JoinSet<()>,
    work: Option<Work>,
}

struct Work {
    worker: Worker,
    servers: Arc<Servers>,
}

/// Whether a node serves the API and executes runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ServesAndWorks,
    /// It only serves the API.
    ServesOnly,
    /// It only executes runs.
    WorksOnly,
}

impl Node {
    /// Migrates the database, and starts everything but the listener.
    pub(crate) async fn start(
        config: Config,
        models: Models,
        urls: DatabaseUrls,
        role: Role,
        args: &NodeArgs,
    ) -> Result<Self, Failure> {
        let redactor = config.redactor(Some(&urls.url));
        let embedder = embedder(&config, &models)?;
        let workspace_root = config.data_dir()?.join("workspaces");
        let metrics = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?;

        migrate(&urls.migrate).await.map_err(database_failure)?;
        let settings = StoreSettings {
            url: urls.url,
            direct_url: urls.direct,
            max_connections: config.server.database_connections,
            limits: config.limits.queue(config.worker.max_attempts),
            budget: config.limits.budget(),
            retention: config.retention.clone(),
        };
        let store = Store::connect(&settings).await.map_err(database_failure)?;
        if let Some(embedder) = &embedder {
            adopt(&store, embedder.id(), args).await?;
        }
        let authenticator = match role {
            Role::ServesAndWorks | Role::ServesOnly => authenticator(&config, &store).await?,
            Role::WorksOnly => Authenticator::none(), // It serves no API.
        };
        let memory = MemoryService::new(store.clone(), embedder).in_zone(config.time.zone.clone());
        let work = match role {
            Role::ServesOnly => None,
            Role::ServesAndWorks | Role::WorksOnly => {
                let servers =
                    Servers::start(config.mcp_servers, launcher(), std::env::vars_os()).await;
                let servers = Arc::new(servers);
                let parts = WorkerParts {
                    store: store.clone(),
                    models: models.clone(),
                    memory: memory.clone(),
                    mcp: Arc::clone(&servers),
                    redactor: redactor.clone(),
                    agents: config.agents.clone(),
                    after_run: config.memory.after_run,
                    size_limits: config.limits.run_size(),
                    has_memory: machine::has_memory,
                    zone: config.time.zone,
                    workspace_root: workspace_root.clone(),
                    version: VERSION,
                };
                Some(Work { worker: Worker::start(parts, config.worker), servers })
            }
        };
        let mut upkeep = JoinSet::new();
        upkeep.spawn(keep_up(metrics.clone()));
        if let Some(Work { worker, .. }) = &work {
            upkeep.spawn(fill_in(memory.clone(), worker.busy()));
            upkeep.spawn(consolidate(memory.clone(), config.memory.consolidate_every_h));
        }
        let (agents, tenants) = (config.agents, config.limits.tenants());
        let allowed_hosts = config.server.allowed_hosts;
        Ok(Self {
            store,
            memory,
            models,
            agents,
            authenticator,
            redactor,
            workspace_root,
            allowed_hosts,
            tenants,
            metrics,
            upkeep,
            work,
        })
    }

    pub(crate) fn models(&self) -> &Models {
        &self.models
    }

    /// Masks the secrets of this node.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// How the MCP servers are; empty where this node does not work.
    pub(crate) fn mcp_status(&self) -> Vec<ServerStatus> {
        self.work.as_ref().map(|work| work.servers.status()).unwrap_or_default()
    }

    /// Executes runs, and serves the API where there is a listener, until it is asked to stop. Then
    /// current runs may end, or are handed back, while open requests end, too; then all parts stop.
    /// A second request to stop waits for nothing.
    pub(crate) async fn run(
        mut self,
        listener: Option<TcpListener>,
        Shutdown { asked: shutdown, insisted }: Shutdown,
    ) -> Result<Exit, Failure> {
        let metrics = self.metrics.clone();
        let dependencies = Dependencies {
            store: self.store.clone(),
            memory: self.memory,
            agents: agent_infos(&self.agents, &self.models.default_model().to_string()),
            model_fault: model_fault(self.models, self.agents, self.work.is_some()),
            mask: mask(self.redactor),
            authenticator: self.authenticator,
            workspace_root: self.workspace_root,
            metrics: Arc::new(move || metrics.render()),
            version: VERSION,
        };
        let serving = async {
            let Some(listener) = listener else { return };
            let settings = ServerSettings {
                allowed_hosts: self.allowed_hosts,
                tenants: self.tenants,
                ..ServerSettings::default()
            };
            serve(listener, dependencies, settings, shutdown.clone()).await;
        };
        let work = async {
            shutdown.cancelled().await;
            tracing::info!("stopping");
            if let Some(Work { worker, servers }) = self.work {
                worker.stop(WORKER_GRACE).await;
                servers.stop().await;
            }
        };
        tokio::select! {
            biased;
            () = insisted.cancelled() => return Ok(Exit::Interrupted),
            ((), ()) = async { tokio::join!(serving, work) } => {}
        }
        self.upkeep.shutdown().await;
        self.store.close().await;
        Ok(Exit::Done)
    }
}

/// How MCP servers are started: behind a process of this executable, which ends what they leave.
pub(crate) fn launcher() -> Launcher {
    // The file may have been replaced or removed since; this is the executable that runs.
    let this = PathBuf::from("/proc/self/exe");
    let this = if this.exists() { this } else { std::env::current_exe().unwrap_or(this) };
    Launcher::reaper(this, &["mcp-reaper"])
}

/// Masks what workers mask in what users and models say.
fn mask(redactor: Redactor) -> Mask {
    Arc::new(move |text| {
        if let Cow::Owned(clean) = redactor.redacted(text, Reach::Known) {
            *text = clean;
        }
    })
}

/// What the server asks of a model that a request names. The keys of providers may be known to the
/// workers alone.
fn model_fault(
    models: Models,
    agents: BTreeMap<AgentId, AgentSettings>,
    has_worker: bool,
) -> ModelFault {
    Arc::new(move |config, agent_id| {
        let agent = agents.get(agent_id).and_then(|agent| agent.model.as_ref());
        match models.resolve(Some(config), agent) {
            Ok(_) => None,
            Err(ResolveError::NoKey { .. }) if !has_worker => None,
            Err(error) => Some(format!("cannot be used: {error}")),
        }
    })
}

/// The models as configured; every agent's model is one that can be asked.
pub(crate) fn models(config: &Config) -> Result<Models, Failure> {
    let models = Models::new(&config.model)
        .map_err(|error| Failure::from_error(Exit::Usage, &error).hint_if(error.hint))?;
    for (agent_id, agent) in &config.agents {
        models.resolve(None, agent.model.as_ref()).map_err(|error| {
            let problem = format!("`agents.{agent_id}.model` cannot be used: {error}");
            Failure::new(Exit::Usage, problem).hint_if(error.hint())
        })?;
    }
    Ok(models)
}

/// The embedder as configured, if one is to be used; its vectors have the length that memories are
/// kept with.
pub(crate) fn embedder(
    config: &Config,
    models: &Models,
) -> Result<Option<Arc<dyn Embedder>>, Failure> {
    if config.embedding.model.as_deref() == Some(NO_EMBEDDER) {
        return Ok(None);
    }
    let embedder = models
        .embedder(&config.embedding())
        .map_err(|error| Failure::from_error(Exit::Usage, &error).hint_if(error.hint))?;
    if embedder.dimensions() != VECTOR_DIMENSIONS {
        let problem = format!("`embedding.dimensions` is {}", embedder.dimensions());
        let failure = Failure::new(Exit::Usage, problem);
        return Err(failure.hint(format!("memories are kept with {VECTOR_DIMENSIONS}")));
    }
    Ok(Some(embedder))
}

/// Makes the embedder the database's, or refuses to start beside another.
async fn adopt(store: &Store, embedder: &str, args: &NodeArgs) -> Result<(), Failure> {
    let other = store.adopt_embedder(embedder).await;
    match other.map_err(|error| Failure::from_error(Exit::Failed, &error))? {
        None => Ok(()),
        Some(other) => Err(other_embedder(&other, embedder, args)),
    }
}

/// Memories have vectors of `there`, which those of `configured` cannot be compared with.
pub(crate) fn other_embedder(there: &str, configured: &str, args: &NodeArgs) -> Failure {
    let keep = match name_of(there) {
        name if name == name_of(configured) => String::new(), // Another version of the same.
        MULTILINGUAL => format!(
            "; or keep the old one: OPENINTERN_EMBEDDING={MULTILINGUAL}, with its weights from `{}`",
            args.command("embedder install")
        ),
        name => format!("; or keep the old one: OPENINTERN_EMBEDDING={name}"),
    };
    let failure = Failure::new(
        Exit::Usage,
        format!(
            "the memories of this database are embedded with `{there}`, but `{configured}` is \
             configured: their vectors cannot be compared"
        ),
    );
    let reindex = args.command("memory reindex");
    failure.hint(format!("change over once with `{reindex}`, then start again{keep}"))
}

/// What an embedder is configured as.
fn name_of(id: &str) -> &str {
    if id.starts_with(HASHED) { HASHED } else { id.split('@').next().unwrap_or(id) }
}

/// The authenticator, as configured.
async fn authenticator(config: &Config, store: &Store) -> Result<Authenticator, Failure> {
    match config.server.auth {
        AuthMode::None => Ok(Authenticator::none()),
        AuthMode::Keys => Ok(Authenticator::keys(store.clone())),
        AuthMode::Jwt => {
            Authenticator::jwt(config.auth.jwt.clone().unwrap_or_default(), store.clone())
                .await
                .map_err(|fault| Failure::from_error(Exit::Usage, &fault))
        }
    }
}

/// Why the database cannot be used.
pub(crate) fn database_failure(error: ConnectError) -> Failure {
    let exit = match error {
        ConnectError::Url(_) => Exit::Usage,
        ConnectError::Unreachable { .. }
        | ConnectError::TooOld { .. }
        | ConnectError::Vector { .. }
        | ConnectError::NotDurable { .. }
        | ConnectError::Schema { .. }
        | ConnectError::Tenancy { .. }
        | ConnectError::Store(_) => Exit::Failed,
    };
    Failure::from_error(exit, &error).hint_if(error.hint())
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Gives chunks their vectors for which the embedder had no time when they were written.
pub(crate) async fn fill_in(memory: MemoryService, is_busy: impl Fn() -> bool) {
    let rest = || if is_busy() { REST_BUSY } else { REST };
    loop {
        let mut chunks = 0;
        match memory.embed_stale(Stale::Missing, rest, |more| chunks += more).await {
            Ok(()) if chunks > 0 => {
                tracing::info!(chunks, "embedded the chunks that had no vector")
            }
            Ok(()) | Err(ReindexError::NoEmbedder) => {}
            Err(error) => {
                tracing::warn!(%error, chunks, "cannot embed the chunks that have no vector")
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Looks every few hours for memories that say the same. The first time is that long after the
/// start; a node that finds nothing changed has little to do.
async fn consolidate(memory: MemoryService, every_h: u32) {
    if every_h == 0 {
        return;
    }
    loop {
        sleep(Duration::from_secs(u64::from(every_h) * 3600)).await;
        match memory.consolidate_all(CONSOLIDATION_REST).await {
            Ok(links) => tracing::info!(links, "looked for memories that say the same"),
            Err(error) => tracing::warn!(%error, "cannot look for memories that say the same"),
        }
    }
}
