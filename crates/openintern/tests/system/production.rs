//! `migrate`, `serve` and `worker` on a database that they share.

use sqlx::Connection;

use crate::program::{Answer, Dev, Running, answer, folder, openintern};

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

    let (status, _, stderr) = server.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    let (status, _, stderr) = worker.end();
    assert_eq!(status.code(), Some(0), "{stderr}");

    let doctor = |url: &str| answer(on_database(&["doctor"], url)).stdout;
    assert!(doctor(&database.admin_url).contains("more than it needs to be"));
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
