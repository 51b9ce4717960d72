//! The embedded Postgres, for real: clusters in temporary folders, started, killed and restarted.
//! Needs the archive in the build, and fails without it: `make`, or `scripts/fetch-postgres.sh`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use postgres::error::StartError;
use postgres::{EmbeddedServer, EmbeddedSettings, start};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Names the data folder to a copy of this program that is to be killed.
const VICTIM: &str = "POSTGRES_TEST_VICTIM";

#[tokio::test]
async fn a_fresh_cluster_has_a_database_a_modest_role_and_pgvector() {
    let folder = folder();
    let server = started(folder.path()).await;
    assert!(!server.adopted());
    assert!(server.version().starts_with("18."), "{}", server.version());

    let mut app = PgConnection::connect(server.app_url()).await.unwrap();
    let distance: f64 =
        sqlx::query_scalar("select '[1,2]'::vector <-> '[4,6]'").fetch_one(&mut app).await.unwrap();
    assert_eq!(distance, 5.0);
    let role: (bool, bool, bool, bool, bool, bool) = sqlx::query_as(
        "select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, datdba = r.oid
         from pg_roles r, pg_database d
         where rolname = current_user and datname = current_database() and datname = 'openintern'",
    )
    .fetch_one(&mut app)
    .await
    .unwrap();
    assert_eq!(role, (true, false, false, false, false, false), "it owns nothing");
    let mut owner = PgConnection::connect(server.owner_url()).await.unwrap();
    sqlx::query("create schema mine create table t (x int)").execute(&mut owner).await.unwrap();
    for (login, statement) in [
        (server.app_url(), "create table mine (x int)"),
        (server.owner_url(), "create role another"),
        (server.owner_url(), "alter role openintern_owner superuser"),
    ] {
        let mut login = PgConnection::connect(login).await.unwrap();
        let refused = sqlx::query(statement).execute(&mut login).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501", "{statement}");
    }

    for (setting, expected) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
    ] {
        assert_eq!(show(&server, setting).await, expected, "{setting}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn chinese_text_is_segmented_by_trigrams_and_lowered_by_the_collation() {
    let folder = folder();
    let server = started(folder.path()).await;
    let mut admin = PgConnection::connect(server.admin_url()).await.unwrap();
    sqlx::query("create extension pg_trgm").execute(&mut admin).await.unwrap();
    let (trigrams, lower): (i32, String) =
        sqlx::query_as("select cardinality(show_trgm('数据库')), lower('ÄÖÜ')")
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert_eq!((trigrams, lower.as_str()), (4, "äöü"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_the_data_and_the_urls() {
    let folder = folder();
    let server = started(folder.path()).await;
    let url = server.app_url().to_owned();
    write_a_row(&server).await;
    server.stop().await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());

    let server = started(folder.path()).await;
    assert!(!server.adopted());
    assert_eq!(server.app_url(), url);
    assert!(has_the_row(&server).await);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_instance_is_refused_by_name_of_the_folder() {
    let folder = folder();
    let server = started(folder.path()).await;
    let refused = start(&EmbeddedSettings::new(folder.path().join("data"))).await.unwrap_err();
    let StartError::InUse { data_dir, pid } = &refused else { panic!("{refused}") };
    assert_eq!(data_dir, server.data_dir());
    assert_eq!(*pid, Some(std::process::id()));
    assert!(refused.to_string().contains(server.data_dir().to_str().unwrap()));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_leaves_running_is_adopted() {
    if let Some(data_dir) = std::env::var_os(VICTIM) {
        let server = start(&EmbeddedSettings::new(data_dir)).await.unwrap();
        write_a_row(&server).await;
        println!("\npostmaster {}", server.pid());
        return std::future::pending().await;
    }
    let folder = folder();
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_killed_process_leaves_running_is_adopted", "--nocapture"])
        .env(VICTIM, folder.path().join("data"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let pid: u32 = loop {
        let line = lines.next_line().await.unwrap().expect("the victim ended early");
        if let Some(pid) = line.strip_prefix("postmaster ") {
            break pid.parse().unwrap();
        }
    };
    victim.kill().await.unwrap();

    let server = started(folder.path()).await;
    assert!(server.adopted());
    assert_eq!(server.pid(), pid);
    assert!(has_the_row(&server).await);
    server.stop().await.unwrap();

    let server = started(folder.path()).await;
    assert!(!server.adopted(), "stop also stops what was adopted");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_with_other_settings_is_restarted_not_adopted() {
    let folder = folder();
    let server = started(folder.path()).await;
    let mut idle = PgConnection::connect(server.app_url()).await.unwrap();
    let pid = server.pid();
    drop(server);

    let data_dir = folder.path().join("data");
    let server = start(&EmbeddedSettings { data_dir, max_connections: 33 }).await.unwrap();
    assert!(!server.adopted());
    assert_ne!(server.pid(), pid);
    assert_eq!(show(&server, "max_connections").await, "33");
    assert!(idle.ping().await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postmaster_leaves_nothing_in_the_way() {
    let folder = folder();
    let server = started(folder.path()).await;
    write_a_row(&server).await;
    kill(Pid::from_raw(server.pid().cast_signed()), Signal::SIGKILL).unwrap();
    drop(server);

    let server = started(folder.path()).await;
    assert!(!server.adopted());
    assert!(has_the_row(&server).await);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_at_the_same_urls() {
    let folder = folder();
    for is_adopted in [false, true] {
        let mut server = started(folder.path()).await;
        assert_eq!(server.adopted(), is_adopted);
        let url = server.owner_url().to_owned();
        kill(Pid::from_raw(server.pid().cast_signed()), Signal::SIGKILL).unwrap();
        let answers = async {
            loop {
                let reached = PgConnection::connect(&url).await;
                if let Ok(mut there) = reached
                    && there.ping().await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            never = server.keep_running() => match never {},
            () = answers => {}
        }
    }
    started(folder.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn lock_files_that_name_a_living_stranger_are_stale() {
    let folder = folder();
    let server = started(folder.path()).await;
    let (pid_file, socket_lock) = (
        server.data_dir().join("cluster/postmaster.pid"),
        server.data_dir().join("run/.s.PGSQL.5432.lock"),
    );
    let stranger = std::process::id().to_string();
    let rename_pid = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.replacen(text.lines().next().unwrap(), &stranger, 1)
    };
    let (forged_pid_file, forged_socket_lock) = (rename_pid(&pid_file), rename_pid(&socket_lock));
    server.stop().await.unwrap();
    fs::write(&pid_file, forged_pid_file).unwrap();
    fs::write(&socket_lock, forged_socket_lock).unwrap();

    let server = started(folder.path()).await;
    assert!(!server.adopted());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_may_have_spaces_commas_apostrophes_and_chinese() {
    let folder = folder();
    let odd = folder.path().join("it's a, b 数据");
    make(&odd);
    let server = started(&odd).await;
    assert!(show(&server, "unix_socket_directories").await.contains("数据"));
    drop(server);
    let server = started(&odd).await;
    assert!(server.adopted());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_that_a_shell_would_read_is_refused() {
    let folder = folder();
    for name in ["say \"hi\"", "$HOME", "`id`", "back\\slash", "two\nlines"] {
        let data_dir = folder.path().join(name);
        let refused = start(&EmbeddedSettings::new(&data_dir)).await.unwrap_err();
        assert!(matches!(refused, StartError::UnfitPath { .. }), "{refused}");
        assert!(!data_dir.exists());
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_borrows_a_short_one() {
    let folder = folder();
    let long = folder.path().join("long".repeat(30));
    make(&long);
    let server = started(&long).await;
    let borrowed = show(&server, "unix_socket_directories").await;
    let borrowed = Path::new(borrowed.trim_matches('"'));
    assert!(borrowed.starts_with("/tmp"), "{}", borrowed.display());
    assert_eq!(fs::metadata(borrowed).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(PgConnection::connect(server.app_url()).await.is_ok());
    server.stop().await.unwrap();
    assert!(!borrowed.exists());
}

#[tokio::test]
async fn what_an_interrupted_start_left_is_cleared_away() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    make(&data_dir);
    let leftovers = ["cluster.init-0123", "install/half", "install/older"];
    make(&data_dir.join("install"));
    for name in leftovers {
        fs::create_dir(data_dir.join(name)).unwrap();
        fs::write(data_dir.join(name).join("file"), "half of it").unwrap();
    }

    let server = started(folder.path()).await;
    for name in leftovers {
        assert!(!data_dir.join(name).exists(), "{name}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_cannot_be_opened_is_refused_and_left_alone() {
    let folder = folder();
    let server = started(folder.path()).await;
    let data_dir = server.data_dir().to_owned();
    server.stop().await.unwrap();
    let settings = EmbeddedSettings::new(&data_dir);

    let version = data_dir.join("cluster/PG_VERSION");
    fs::write(&version, "17\n").unwrap();
    let refused = start(&settings).await.unwrap_err();
    assert!(matches!(&refused, StartError::OtherMajor { found, .. } if found == "17"), "{refused}");
    fs::write(&version, "18\n").unwrap();

    let (passwords, away) = (data_dir.join("passwords"), data_dir.join("away"));
    assert_eq!(fs::metadata(&passwords).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(&passwords, &away).unwrap();
    let refused = start(&settings).await.unwrap_err();
    assert!(matches!(&refused, StartError::PasswordsLost { .. }), "{refused}");
    fs::rename(&away, &passwords).unwrap();

    start(&settings).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_bars_the_account_of_postgres_is_named() {
    let folder = folder();
    let barred = folder.path().join("barred");
    make(&barred);
    fs::set_permissions(&barred, Permissions::from_mode(0o700)).unwrap();
    match start(&EmbeddedSettings::new(barred.join("data"))).await {
        Err(StartError::NotEnterable { folder, .. }) => {
            assert!(geteuid().is_root());
            assert_eq!(folder, barred.canonicalize().unwrap());
        }
        // Who is not root runs Postgres as themselves.
        Ok(server) => {
            assert!(!geteuid().is_root());
            server.stop().await.unwrap();
        }
        Err(other) => panic!("{other}"),
    }
}

/// One that the account Postgres runs as can enter.
fn folder() -> TempDir {
    let passable = Permissions::from_mode(0o711);
    tempfile::Builder::new().permissions(passable).tempdir_in("/tmp").unwrap()
}

fn make(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
}

async fn started(folder: &Path) -> EmbeddedServer {
    match start(&EmbeddedSettings::new(folder.join("data"))).await {
        Ok(server) => server,
        Err(StartError::NotBuiltIn) => panic!("no archive: run scripts/fetch-postgres.sh"),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

async fn show(server: &EmbeddedServer, setting: &str) -> String {
    let mut admin = PgConnection::connect(server.admin_url()).await.unwrap();
    sqlx::query_scalar("select current_setting($1)")
        .bind(setting)
        .fetch_one(&mut admin)
        .await
        .unwrap()
}

async fn write_a_row(server: &EmbeddedServer) {
    let mut app = PgConnection::connect(server.owner_url()).await.unwrap();
    sqlx::query("create table kept as select 1 as row").execute(&mut app).await.unwrap();
}

async fn has_the_row(server: &EmbeddedServer) -> bool {
    let mut app = PgConnection::connect(server.owner_url()).await.unwrap();
    sqlx::query_scalar("select exists (select from kept where row = 1)")
        .fetch_one(&mut app)
        .await
        .unwrap()
}
