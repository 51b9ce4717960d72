//! Databases for tests: one throw-away cluster per test process, one fresh database per test.
//!
//! For tests only (feature `scratch`): unlike the rest of this crate it starts a thread of its own,
//! and reads a variable: [`SERVER_VARIABLE`] may name another throw-away server, of another version.
//! The cluster is stopped and removed when the process ends, however it ends.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection, postgres::PgConnection};

use crate::{EmbeddedServer, EmbeddedSettings, database};

/// Names a server for tests: `postgres://superuser@host:port/postgres`, without a password. What the
/// tests make there stays.
const SERVER_VARIABLE: &str = "OPENINTERN_TEST_POSTGRES";
/// Of the logins that are made on such a server.
const PASSWORD: &str = "scratch";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static MADE: AtomicU32 = AtomicU32::new(0);

/// Stops the server and removes its folder once nobody holds the other end of its standard input.
const WATCH: &str = r#"read -r _; kill -INT "$1"
while kill -0 "$1" 2>/dev/null; do sleep 0.05; done
rm -rf "$2""#;

enum Cluster {
    Own {
        server: Box<EmbeddedServer>,
        _watch: Child,
    },
    /// By its superuser's URL.
    Named(String),
}

impl Cluster {
    /// What a fresh database is reached by.
    fn urls(&self, name: &str) -> ScratchDatabase {
        match self {
            Self::Own { server, .. } => {
                let renamed = |url: &str| {
                    url.replacen(&format!("/{}?", database::DATABASE), &format!("/{name}?"), 1)
                };
                ScratchDatabase {
                    app_url: renamed(server.app_url()),
                    owner_url: renamed(server.owner_url()),
                    admin_url: renamed(server.admin_url()),
                }
            }
            Self::Named(url) => {
                let (admin, rest) = url
                    .split_once("://")
                    .and_then(|(_, rest)| rest.split_once('@'))
                    .expect("the URL of the server for tests names its superuser");
                let host = rest.split('/').next().unwrap_or(rest);
                let of = |user: &str| format!("postgres://{user}@{host}/{name}");
                ScratchDatabase {
                    app_url: of(&format!("{}:{PASSWORD}", database::APP)),
                    owner_url: of(&format!("{}:{PASSWORD}", database::OWNER)),
                    admin_url: of(admin),
                }
            }
        }
    }
}

/// The URLs of one fresh database. They hold passwords.
#[derive(Debug, Clone)]
pub struct ScratchDatabase {
    /// For the runtime: bound by every policy.
    pub app_url: String,
    /// For the role that owns the database and migrates it.
    pub owner_url: String,
    pub admin_url: String,
}

/// Makes a fresh database with pgvector in the cluster of this process.
///
/// # Panics
/// When there is no cluster to be had: a test without its database has failed.
pub async fn database() -> ScratchDatabase {
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(cluster))
        .await
        .expect("the cluster starts (hint: `make deps` fetches PostgreSQL)");
    let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let create = format!("create database {name} owner {}", database::OWNER);
    run(&cluster.urls(database::DATABASE).admin_url, &create).await;
    let made = cluster.urls(&name);
    run(&made.admin_url, "create extension vector").await;
    made
}

/// The server that the variable names, or one of our own.
fn cluster() -> Cluster {
    let Ok(url) = std::env::var(SERVER_VARIABLE) else { return start() };
    let cluster = Cluster::Named(url);
    let admin_url = cluster.urls(database::DATABASE).admin_url;
    on_a_runtime(async move {
        let prepared = database::prepare(&admin_url, PASSWORD).await;
        prepared.expect("the server for tests can be prepared");
    });
    cluster
}

/// Waits for something that needs a runtime, on a thread that has none.
fn on_a_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a test process can have a runtime").block_on(work);
}

/// Starts the cluster in a thread whose runtime outlives every test's.
fn start() -> Cluster {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        on_a_runtime(async {
            let mut settings = EmbeddedSettings::new(folder());
            settings.max_connections = 300;
            let started = crate::start(&settings).await;
            send.send(started).expect("the test waits for its database");
            std::future::pending::<()>().await;
        });
    });
    let server = receive
        .recv()
        .expect("the thread answers")
        .expect("the cluster starts (hint: `make deps` fetches PostgreSQL)");
    let watch = Command::new("sh")
        .args(["-c", WATCH, "sh"])
        .arg(server.pid().to_string())
        .arg(server.data_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("there is a shell");
    Cluster::Own { server: Box::new(server), _watch: watch }
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("openintern-test-{}", std::process::id()))
}

async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the cluster answers");
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .expect("the statement is right");
    connection.close().await.expect("the connection closes");
}
