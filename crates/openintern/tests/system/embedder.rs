//! One embedder a database: another is refused until a reindex, on an embedded database and on one
//! that nodes share.

use std::{path::Path, process::Command};

use crate::program::{Answer, Dev, Running, answer, folder, openintern, source};

const HASHED: &str = "local/hashed1@256";
const MULTILINGUAL: &str = "local/multilingual-e5-small@256+pca1";

fn install(data_dir: &Path) {
    let mut install = openintern(["embedder", "install", "--from"]);
    install.arg(source().join(".cache/embedder")).arg("--data-dir").arg(data_dir);
    answer(install).expect(0);
}

fn dev(data_dir: &Path) -> Command {
    let mut dev = openintern(["dev", "--port", "0", "--data-dir"]);
    dev.arg(data_dir).current_dir(source());
    dev
}

/// That a start is refused, with both embedders and what to do; answers the command that it names.
#[track_caller]
fn refused(command: Command, there: &str, configured: &str) -> String {
    let refusal = answer(command);
    assert_eq!((refusal.code, refusal.stdout.as_str()), (2, ""), "{refusal:?}");
    named_command(&refusal.stderr, there, configured)
}

#[track_caller]
fn named_command(said: &str, there: &str, configured: &str) -> String {
    assert!(said.contains(&format!("embedded with `{there}`, but `{configured}`")), "{said}");
    let (_, rest) = said.split_once("change over once with `").unwrap_or_else(|| panic!("{said}"));
    rest.split_once('`').unwrap().0.to_owned()
}

fn typed(command: &str) -> Answer {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env_clear().current_dir("/");
    shell.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    answer(shell)
}

#[test]
fn another_embedder_is_refused_until_a_reindex() {
    let folder = folder();
    let data_dir = folder.path().join("data of a newcomer");
    let first = Dev::start(&data_dir);
    first.ask(["memory", "write", "My daughter Mia started third grade"]).expect(0);
    first.stop();

    install(&data_dir);
    let reindex = refused(dev(&data_dir), HASHED, MULTILINGUAL);
    let mut without = dev(&data_dir);
    without.env("OPENINTERN_EMBEDDING", "none");
    let server = Dev::listening(Running::start(without));
    server.ask(["memory", "write", "The gate code of the warehouse is 4711"]).expect(0);
    let explained = server.ask(["memory", "search", "grade", "--explain", "--json"]).expect(0);
    assert!(explained.contains(r#""vector_scan":"none""#), "{explained}");
    server.stop();
    let mut doctor = openintern(["doctor", "--data-dir"]);
    doctor.arg(&data_dir);
    let doctor = answer(doctor).expect(1);
    assert_eq!(named_command(&doctor, HASHED, MULTILINGUAL), reindex);

    assert_eq!(typed(&reindex).expect(0), "chunks embedded: 2\n");
    let server = Dev::start(&data_dir);
    let found = server.ask(["memory", "search", "我女儿上几年级？", "--json"]).expect(0);
    assert!(found.contains("Mia"), "{found}");
    assert!(typed(&reindex).stderr.contains("in use by another instance"));
    server.stop();
    let mut back = dev(&data_dir);
    back.env("OPENINTERN_EMBEDDING", "local/hashed");
    refused(back, MULTILINGUAL, HASHED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_database_have_one_embedder() {
    let database = postgres::scratch::database().await;
    let folder = folder();
    let data_dir = folder.path().join("data");
    install(&data_dir);
    let on_database = |args: &[&str], embedding: &str| {
        let mut command = openintern(args);
        command.arg("--data-dir").arg(&data_dir).env("OPENINTERN_EMBEDDING", embedding);
        command.env("DATABASE_URL", &database.app_url);
        command.env("OPENINTERN_MIGRATE_URL", &database.owner_url);
        command.env("OPENINTERN_MEMORY_AFTER_RUN", "off"); // Whose vectors are counted.
        command
    };
    let serve = ["serve", "--port", "0"];
    let old = Dev::listening(Running::start(on_database(&serve, "local/hashed")));
    // It works: no memory is there yet, but it would write some.
    old.ask(["run", "hello", "--wait"]).expect(0);
    refused(on_database(&serve, "local/multilingual-e5-small"), HASHED, MULTILINGUAL);
    refused(on_database(&["worker"], "local/multilingual-e5-small"), HASHED, MULTILINGUAL);
    let same = Dev::listening(Running::start(on_database(&serve, "local/hashed")));
    same.stop();

    old.ask(["memory", "write", "My daughter Mia started third grade"]).expect(0);
    let reindex = on_database(&["memory", "reindex"], "local/multilingual-e5-small");
    assert_eq!(answer(reindex).expect(0), "chunks embedded: 1\n");
    // What the old node writes from now on waits for its vector; nobody compares two kinds.
    old.ask(["memory", "write", "The gate code of the warehouse is 4711"]).expect(0);
    let count = "select count(*) from memory_chunks where embedding_model";
    let count = async |which: &str| -> i64 {
        use sqlx::Connection;
        let mut admin = sqlx::PgConnection::connect(&database.admin_url).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("{count} {which}"));
        sqlx::query_scalar(statement).fetch_one(&mut admin).await.unwrap()
    };
    assert_eq!((count("is null").await, count("like 'local/multi%'").await), (1, 1));
    let new = Dev::listening(Running::start(on_database(&serve, "local/multilingual-e5-small")));
    refused(on_database(&serve, "local/hashed"), MULTILINGUAL, HASHED);
    old.stop();
    new.stop();
}
