//! What all scenarios use: a folder, PostgreSQL, the model, the journal of the tool servers.
//! Nodes are not here: each scenario starts its own (see `cluster`).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fastrand::Rng;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;

use crate::{
    clock::now_us,
    model::Model,
    tools::{self, Execution},
};

/// Connections of the harness itself.
const CONNECTIONS: u32 = 8;
/// Connections that PostgreSQL takes: enough for nodes that are started while killed ones linger.
const CONNECTIONS_MAX: u16 = 200;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// For every build: within two minutes.
    Short,
    Long,
}

impl Scale {
    /// One of two sizes.
    pub(crate) fn of<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// What all scenarios use.
pub(crate) struct World {
    pub(crate) scale: Scale,
    pub(crate) seed: u64,
    /// A rule of the product that is switched off, by its failpoint.
    pub(crate) rule_off: Option<&'static str>,
    pub(crate) model: Model,
    pub(crate) pool: PgPool,
    /// In the environment of every process of ours.
    pub(crate) marker: String,
    /// Copies: the originals may be built anew while we run.
    pub(crate) openintern: PathBuf,
    pub(crate) chaos: PathBuf,
    folder: TempDir,
    settings: postgres::EmbeddedSettings,
    postgres: Option<postgres::EmbeddedServer>,
}

impl World {
    /// Starts what nodes need.
    pub(crate) async fn build(scale: Scale, seed: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("openintern-chaos-").tempdir()?;
        // The database runs as another user when we are root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        println!("logs in {}", folder.path().display());
        let openintern = folder.path().join("openintern");
        let original = executable();
        fs::copy(&original, &openintern)
            .with_context(|| format!("`{}` is there (hint: build it)", original.display()))?;
        let chaos = folder.path().join("chaos");
        fs::copy(std::env::current_exe()?, &chaos)?;
        let mut settings = postgres::EmbeddedSettings::new(folder.path().join("pg"));
        settings.max_connections = CONNECTIONS_MAX;
        let postgres = postgres::start(&settings).await?;
        store::connect::migrate(postgres.owner_url()).await?;
        let pool =
            PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy(postgres.admin_url())?;
        Ok(Self {
            scale,
            seed,
            rule_off: None,
            model: Model::start(seed).await?,
            pool,
            marker: format!("{}-{seed}", std::process::id()),
            openintern,
            chaos,
            folder,
            settings,
            postgres: Some(postgres),
        })
    }

    fn owner_url(&self) -> &str {
        self.postgres.as_ref().map_or("", |postgres| postgres.owner_url())
    }

    /// The build with failpoints, which lies beside the one under test.
    pub(crate) fn openintern_with_failpoints(&self) -> Result<PathBuf> {
        let copy = self.folder().join("openintern-failpoints");
        if !copy.exists() {
            let mut original = executable().into_os_string();
            original.push("-failpoints");
            fs::copy(&original, &copy).with_context(|| {
                let original = Path::new(&original).display();
                format!("`{original}` is there (hint: the Makefile says how it is built)")
            })?;
        }
        Ok(copy)
    }

    /// An empty database beside the one of the nodes; says its owner's URL.
    pub(crate) async fn create_database(&self, name: &str) -> Result<String> {
        let create = format!("create database {name} owner openintern_owner");
        sqlx::query(AssertSqlSafe(create)).execute(&self.pool).await?;
        let options = self.pool.connect_options().as_ref().clone().database(name);
        let mut connection = PgConnection::connect_with(&options).await?;
        sqlx::query("create extension vector").execute(&mut connection).await?;
        connection.close().await?;
        let (before, after) =
            self.owner_url().rsplit_once("/openintern").context("the URL names a database")?;
        Ok(format!("{before}/{name}{after}"))
    }

    /// Stops the database; the folder goes unless it is to be kept.
    pub(crate) async fn tear_down(mut self, keep: bool) -> Result<()> {
        self.pool.close().await;
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().await?;
        }
        if keep {
            fs::remove_file(&self.openintern)?;
            fs::remove_file(self.folder().join("openintern-failpoints")).ok();
            println!("kept {}", self.folder.keep().display());
        }
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A URL for the nodes.
    pub(crate) fn database_url(&self) -> &str {
        self.postgres.as_ref().map_or("", |postgres| postgres.app_url())
    }

    /// Where the tool servers write.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder().join("executions.jsonl")
    }

    /// What really reached the tool servers.
    pub(crate) fn executions(&self) -> Result<Vec<Execution>> {
        tools::read_journal(&self.journal())
    }

    /// Dice for one purpose: the same seed and purpose always fall the same way.
    pub(crate) fn dice(&self, purpose: u64) -> Rng {
        Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose)
    }

    /// Kills the postmaster, and starts it again at once. Says when it took connections again.
    pub(crate) async fn crash_postgres(&mut self) -> Result<i64> {
        if let Some(postgres) = self.postgres.take() {
            kill(Pid::from_raw(postgres.pid().cast_signed()), Signal::SIGKILL)?;
            // Dropping it only lets go of it.
        }
        self.postgres = Some(postgres::start(&self.settings).await?);
        Ok(now_us())
    }
}

/// The executable under test.
fn executable() -> PathBuf {
    std::env::var_os("OPENINTERN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/openintern"),
        PathBuf::from,
    )
}
