//! The embedded database: a private PostgreSQL 18 with pgvector, for when there is no `DATABASE_URL`.
//!
//! Unpacks the server that is built into the executable, initialises a cluster once, starts it
//! or adopts one that an earlier process left running, and hands out a URL. The cluster is
//! reached through a Unix socket only. This crate knows no table of ours: migrations are
//! `store`'s. It never downloads, and reads no environment.

mod account;
mod cluster;
mod database;
pub mod error;
mod home;
mod install;
mod pid_file;
mod postmaster;
mod residents;
#[cfg(feature = "scratch")]
pub mod scratch;
mod socket;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    time::Duration,
};

use account::Account;
use cluster::{CommandLine, Passwords};
use error::{StartError, StopError};
use home::DataFolder;
use install::Install;
use postmaster::Postmaster;
use socket::Socket;
use tokio::time::sleep;

/// How many connections the server takes, unless told otherwise. Each open one costs memory.
pub const DEFAULT_MAX_CONNECTIONS: u16 = 100;
/// Between two attempts to start a server that died.
const RESTART_REST: Duration = Duration::from_secs(5);

/// Where the cluster lives and how large it is.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// A folder for this crate alone; made if absent, and so are the folders above it.
    pub data_dir: PathBuf,
    /// Connections in all, a few of them kept for the superuser.
    pub max_connections: u16,
}

impl EmbeddedSettings {
    /// The default settings for a cluster in this folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), max_connections: DEFAULT_MAX_CONNECTIONS }
    }
}

/// A running server with its database, role and extension in place.
///
/// Dropping it leaves Postgres running, as a killed process would: the next [`start`] adopts it.
pub struct EmbeddedServer {
    app_url: String,
    owner_url: String,
    admin_url: String,
    running: Running,
    adopted: bool,
    ground: Ground,
}

/// What a server of ours runs on: all that is on disk.
struct Ground {
    home: DataFolder,
    socket: Socket,
    command: CommandLine,
    passwords: Passwords,
}

/// A server that is set up.
struct Running {
    postmaster: Postmaster,
    version: String,
}

/// Starts the cluster in `settings.data_dir`, making it first if there is none.
///
/// Fails when this build has no Postgres inside, when another instance of ours holds the folder,
/// and when the folder cannot be used; the error says which and what to do.
pub async fn start(settings: &EmbeddedSettings) -> Result<EmbeddedServer, StartError> {
    let archive = install::archive().ok_or(StartError::NotBuiltIn)?;
    let account = Account::choose()?;
    let home = DataFolder::open(&settings.data_dir, account)?;
    let install = Install::unpack(archive, &home).await?;
    let passwords = cluster::initialise(&home, &install).await?;
    let socket = Socket::choose(&home)?;
    let command = cluster::command_line(&home, &install, &socket, settings.max_connections);

    let ground = Ground { home, socket, command, passwords };

    let (running, adopted) = ground.adopt_or_launch().await?;
    install.remove_others(&ground.home);
    tracing::info!(version = running.version, adopted, pid = running.postmaster.pid(), "postgres");
    Ok(EmbeddedServer {
        app_url: ground.socket.url(database::APP, &ground.passwords.app),
        owner_url: ground.socket.url(database::OWNER, &ground.passwords.app),
        admin_url: ground.admin_url(),
        running,
        adopted,
        ground,
    })
}

impl EmbeddedServer {
    /// The URL of the role the runtime uses: it owns the database `openintern` and is no more
    /// than that. Holds a password.
    pub fn app_url(&self) -> &str {
        &self.app_url
    }

    /// The owner's URL for the same database: it migrates. Holds a password.
    pub fn owner_url(&self) -> &str {
        &self.owner_url
    }

    /// The superuser's URL for the same database. Holds a password.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// What the server calls itself, such as `18.6`.
    pub fn version(&self) -> &str {
        &self.running.version
    }

    /// Whether it was running already, left by a process that died.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.running.postmaster.pid()
    }

    /// The folder given in [`EmbeddedSettings`], with links resolved.
    pub fn data_dir(&self) -> &Path {
        self.ground.home.folder()
    }

    /// The log of this run of the server; that of the run before is beside it.
    pub fn log(&self) -> PathBuf {
        self.ground.home.log()
    }

    /// Starts the server again whenever it dies, at the same URLs.
    pub async fn keep_running(&mut self) -> Infallible {
        loop {
            self.running.postmaster.died(&self.ground.home).await;
            tracing::warn!(pid = self.pid(), "postgres died; it is started again");
            self.running = loop {
                match self.ground.adopt_or_launch().await {
                    Ok((running, _adopted)) => break running,
                    Err(error) => {
                        let hint = error.hint();
                        tracing::error!(%error, hint, "postgres cannot be started again");
                    }
                }
                sleep(RESTART_REST).await;
            };
            tracing::warn!(pid = self.pid(), "postgres is there again");
        }
    }

    /// Stops the server, ending sessions at once but losing nothing that was committed. When it
    /// does not stop in time it is made to, and recovers at the next start.
    pub async fn stop(self) -> Result<(), StopError> {
        let Self { mut running, ground, .. } = self;
        running.postmaster.stop(&ground.home).await?;
        ground.socket.remove();
        Ok(())
    }
}

impl Ground {
    /// A server that is there, taken over, or a new one; says whether it was there.
    async fn adopt_or_launch(&self) -> Result<(Running, bool), StartError> {
        Ok(match self.adopt().await? {
            Some(running) => (running, true),
            None => (self.launch().await?, false),
        })
    }

    /// Takes over a server that is there. One that does not answer, perhaps because it was dying
    /// when we found it, is stopped; then there is none.
    async fn adopt(&self) -> Result<Option<Running>, StartError> {
        while let Some(mut postmaster) =
            postmaster::find(&self.home, &self.socket, &self.command).await?
        {
            match self.set_up(&mut postmaster).await {
                Ok(version) => return Ok(Some(Running { postmaster, version })),
                Err(waiting @ StartError::NotReady { .. }) => return Err(waiting),
                Err(error) => tracing::warn!(%error, "postgres is started anew, not adopted"),
            }
            postmaster.stop(&self.home).await.map_err(StartError::Leftover)?;
        }
        Ok(None)
    }

    async fn launch(&self) -> Result<Running, StartError> {
        let mut postmaster = postmaster::spawn(&self.home, &self.command)?;
        match self.set_up(&mut postmaster).await {
            Ok(version) => Ok(Running { postmaster, version }),
            Err(waiting @ StartError::NotReady { .. }) => Err(waiting),
            Err(error) => {
                postmaster.stop(&self.home).await.map_err(StartError::Leftover)?;
                Err(error)
            }
        }
    }

    async fn set_up(&self, postmaster: &mut Postmaster) -> Result<String, StartError> {
        postmaster.ready(&self.home).await?;
        database::prepare(&self.admin_url(), &self.passwords.app).await.map_err(StartError::SetUp)
    }

    fn admin_url(&self) -> String {
        self.socket.url(database::ADMIN, &self.passwords.admin)
    }
}

impl std::fmt::Debug for EmbeddedServer {
    // The URLs hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedServer")
            .field("pid", &self.pid())
            .field("data_dir", &self.data_dir())
            .finish_non_exhaustive()
    }
}
