//! `migrate`, `serve` and `worker` on a database that they share.

use std::{fs, path::Path, time::Instant};

use sqlx::Connection;

use crate::program::{Answer, Dev, PATIENCE, Running, answer, folder, openintern};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_a_worker_share_a_database() {
    let database = postgres::scratch::database().await;
    let folder = folder();
    let on_database = |args: &[&str], url: &str| {
        let mut command = openintern(args);
        command.env("DATABASE_URL", url).env("OPENINTERN_MIGRATE_URL", &database.owner_url);
        command
    };
    let migrate = |args: &[&str]| -> Answer { answer(on_database(args, &database.app_url)) };
    assert!(migrate(&["migrate", "--check"]).stderr.contains("openintern migrate"));
    let applied = migrate(&["migrate"]).expect(0);
    assert!(applied.starts_with("migrations applied: "), "{applied}");
    assert_eq!(migrate(&["migrate"]).expect(0), "migrations applied: 0\n");
    migrate(&["migrate", "--check"]).expect(0);

    let data_dir = folder.path().to_str().unwrap();
    let worker = ["worker", "--data-dir", data_dir, "--log-format", "json"];
    let worker = Running::start(on_database(&worker, &database.app_url));
    let serve = ["serve", "--no-worker", "--port", "0", "--data-dir", data_dir];
    let server = Dev::listening(Running::start(on_database(&serve, &database.app_url)));
    let answered =
        server.ask(["run", "Remember that the key is under the mat", "--wait"]).expect(0);
    assert!(answered.contains("under the mat"), "{answered}");
    check_workspace_bound(&server, folder.path());

    let (status, _, stderr) = server.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    let (status, _, stderr) = worker.end();
    assert_eq!(status.code(), Some(0), "{stderr}");

    let doctor = |url: &str| answer(on_database(&["doctor"], url)).stdout;
    let as_admin = doctor(&database.admin_url);
    assert!(as_admin.contains("it has more rights than it needs"), "{as_admin}");
    assert!(doctor(&database.app_url).contains("schema up to date"));
    let mut admin = sqlx::PgConnection::connect(&database.admin_url).await.unwrap();
    sqlx::raw_sql("alter table events no force row level security")
        .execute(&mut admin)
        .await
        .unwrap();
    assert!(doctor(&database.app_url).contains("`events` does not force"));
    let refused = answer(on_database(&serve, &database.app_url));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("tenants are not kept apart"), "{}", refused.stderr);
}

/// The bound that nobody configured, on files that take no room.
fn check_workspace_bound(server: &Dev, data_dir: &Path) {
    const GIB: u64 = 1 << 30;
    let run_for = |org: &str, bytes: u64| {
        let workspace = data_dir.join(format!("workspaces/org-{org}/user-user_default/no-project"));
        fs::create_dir_all(&workspace).unwrap();
        fs::File::create(workspace.join("file")).unwrap().set_len(bytes).unwrap();
        let mut run = server.client(["run", "hello", "--wait"]);
        run.env("AGENT_ORG_ID", org);
        answer(run)
    };
    run_for("at_the_bound", GIB).expect(0);
    // On a busy machine one may come through before the folder is measured.
    let began = Instant::now();
    let refused = loop {
        let answer = run_for("over_it", GIB + 1);
        if answer.code != 0 || began.elapsed() > PATIENCE {
            break answer;
        }
    };
    assert_eq!(refused.code, 8, "{refused:?}");
    let words = ["1073741825 bytes", "1073741824 are allowed", "`limits.workspace_bytes_per_org`"];
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{}", refused.stderr);
}
