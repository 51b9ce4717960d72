//! Databases for tests: one throw-away cluster per test process, one fresh database per test.
//!
//! For tests only (feature `scratch`): unlike the rest of this crate it starts a thread of its own.
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

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static MADE: AtomicU32 = AtomicU32::new(0);

/// Stops the server and removes its folder once nobody holds the other end of its standard input.
const WATCH: &str = r#"read -r _; kill -INT "$1"
while kill -0 "$1" 2>/dev/null; do sleep 0.05; done
rm -rf "$2""#;

struct Cluster {
    server: EmbeddedServer,
    _watch: Child,
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
    let server = tokio::task::spawn_blocking(|| &CLUSTER.get_or_init(start).server)
        .await
        .expect("the cluster starts (hint: `make deps` fetches PostgreSQL)");
    let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
    run(server.admin_url(), &format!("create database {name} owner {}", database::OWNER)).await;
    let renamed =
        |url: &str| url.replacen(&format!("/{}?", database::DATABASE), &format!("/{name}?"), 1);
    let made = ScratchDatabase {
        app_url: renamed(server.app_url()),
        owner_url: renamed(server.owner_url()),
        admin_url: renamed(server.admin_url()),
    };
    run(&made.admin_url, "create extension vector").await;
    made
}

/// Starts the cluster in a thread whose runtime outlives every test's.
fn start() -> Cluster {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a test process can have a runtime");
        runtime.block_on(async {
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
    Cluster { server, _watch: watch }
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
