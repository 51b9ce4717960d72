//! What all handlers share.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use memory::service::MemoryService;
use protocol::{
    error::UnavailableReason,
    name::AgentId,
    run::{AgentInfo, LlmConfig},
};
use store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use workspaces::quota::Quota;

use crate::{
    auth::{access::AccessControl, authenticator::Authenticator},
    body_reader::BodyReader,
    limits::DATABASE_REASON_LASTS,
    open_streams::OpenStreams,
    settings::ServerSettings,
    stream_pages::StreamPages,
};

/// Masks the credentials of the installation in a text, as they are masked in what workers write.
pub type Mask = Arc<dyn Fn(&mut String) + Send + Sync>;

/// Why a model cannot be asked; none where it can.
pub type ModelFault = Arc<dyn Fn(&LlmConfig, &AgentId) -> Option<String> + Send + Sync>;

/// What a server needs from the process that it runs in.
pub struct Dependencies {
    pub store: Store,
    pub memory: MemoryService,
    /// The agents that runs can use.
    pub agents: Vec<AgentInfo>,
    /// Says why a run of an agent cannot ask the model that its request names.
    pub model_fault: ModelFault,
    /// What is shown of a prompt goes through it.
    pub mask: Mask,
    /// How requests are authenticated.
    pub authenticator: Authenticator,
    /// The folder that holds the workspaces of all scopes, if it is on this machine.
    pub workspace_root: PathBuf,
    /// Renders the metrics of this process as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The version of the executable.
    pub version: &'static str,
}

/// The state of the application, cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<AppState>);

pub(crate) struct AppState {
    pub(crate) store: Store,
    pub(crate) memory: MemoryService,
    pub(crate) agents: Vec<AgentInfo>,
    pub(crate) model_fault: ModelFault,
    pub(crate) mask: Mask,
    pub(crate) authenticator: Authenticator,
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) version: &'static str,
    pub(crate) settings: ServerSettings,
    /// Cancelled when the server is to end.
    pub(crate) shutdown: CancellationToken,
    /// Requests under way: a shutdown waits for them even if their clients are gone.
    pub(crate) tasks: TaskTracker,
    pub(crate) access: AccessControl,
    pub(crate) streams: OpenStreams,
    pub(crate) pages: StreamPages,
    pub(crate) bodies: BodyReader,
    /// How much organisations may keep in their workspaces.
    pub(crate) workspaces: Quota,
    pub(crate) database_reason: RecentReason,
}

/// Why the database refused work, according to the last request that failed for that reason.
#[derive(Default)]
pub(crate) struct RecentReason(Mutex<Option<(UnavailableReason, Instant)>>);

impl RecentReason {
    pub(crate) fn note(&self, reason: UnavailableReason) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((reason, Instant::now()));
    }

    pub(crate) fn recent(&self) -> Option<UnavailableReason> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(_, at)| at.elapsed() < DATABASE_REASON_LASTS).map(|(reason, _)| reason)
    }
}

impl App {
    pub(crate) fn new(
        dependencies: Dependencies,
        settings: ServerSettings,
        shutdown: CancellationToken,
    ) -> Self {
        let Dependencies {
            store,
            memory,
            agents,
            model_fault,
            mask,
            authenticator,
            workspace_root,
            metrics,
            version,
        } = dependencies;
        let bytes_max = settings.tenants.workspace_bytes_per_org;
        Self(Arc::new(AppState {
            access: AccessControl::new(authenticator.clone(), &settings.tenants),
            workspaces: Quota::new(workspace_root, bytes_max, settings.measuring),
            streams: OpenStreams::default(),
            pages: StreamPages::new(settings.stream_bytes),
            bodies: BodyReader::new(&settings),
            database_reason: RecentReason::default(),
            tasks: TaskTracker::new(),
            store,
            memory,
            agents,
            model_fault,
            mask,
            authenticator,
            metrics,
            version,
            settings,
            shutdown,
        }))
    }
}

impl Deref for App {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}
