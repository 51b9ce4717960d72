//! Keys from the shell: the first one, those it makes, and a server that asks for them.

use serde_json::Value;

use crate::program::{Answer, Dev, Running, answer, folder, openintern};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_keys_and_how_to_come_by_the_first() {
    let database = postgres::scratch::database().await;
    let folder = folder();
    let data_dir = folder.path().to_str().unwrap();
    let first = |args: &[&str]| {
        let mut command = openintern(["keys", "create", "--admin"]);
        command
            .args(args)
            .env("DATABASE_URL", &database.app_url)
            .env("OPENINTERN_MIGRATE_URL", &database.owner_url);
        answer(command)
    };
    assert!(first(&[]).stderr.contains("--org"));
    assert!(first(&["--org", "acme", "--rights", "runs:read"]).stderr.contains("--rights"));
    // On a database that no server has seen yet.
    let made = first(&["--org", "acme", "the first"]);
    assert!(made.stderr.contains("only this once"), "{made:?}");
    let admin = made.expect(0).trim().to_owned();
    assert!(admin.starts_with("oi_") && admin.len() == 67, "{admin}");

    let mut serve = openintern(["serve", "--host", "0.0.0.0", "--port", "0"]);
    serve
        .args(["--data-dir", data_dir])
        .env("DATABASE_URL", &database.app_url)
        .env("OPENINTERN_MIGRATE_URL", &database.owner_url);
    serve.env("OPENINTERN__SERVER__AUTH", "keys");
    let mut server = Dev::listening(Running::start(serve));
    server.url = server.url.replace("0.0.0.0", "127.0.0.1");
    let ask = |key: &str, args: &[&str]| -> Answer {
        let mut command = server.client(args.iter().copied());
        command.env("OPENINTERN_API_KEY", key);
        answer(command)
    };

    let refused = server.ask(["runs", "list"]);
    assert!(refused.stderr.contains("OPENINTERN_API_KEY"), "{refused:?}");
    refused.expect(4);
    let user = ["keys", "create", "for li", "--user", "li", "--rights", "runs:read,runs:write"];
    let made: Value = serde_json::from_str(
        &ask(
            &admin,
            &[user.as_slice(), &["--json", "--expires-at", "9999-01-01T00:00:00Z"]].concat(),
        )
        .expect(0),
    )
    .unwrap();
    assert_eq!((&made["org_id"], &made["user_id"]), (&"acme".into(), &"li".into()));
    let key = made["key"].as_str().unwrap();
    ask(&admin, &["keys", "create", "--user", "li", "--rights", "admin"]).expect(2);
    ask(&admin, &["keys", "create", "--rights", "root"]).expect(2);
    ask(&admin, &["keys", "create", "--expires-at", "soon"]).expect(2);

    let told = ask(key, &["run", "Remember that the key is under the mat", "--wait"]).expect(0);
    assert!(told.contains("under the mat"), "{told}");
    assert_eq!(ask(key, &["runs", "list"]).expect(0).lines().count(), 1);
    ask(key, &["memory", "list"]).expect(4);
    ask(key, &["keys", "list"]).expect(4);
    let unnamed = ask(&admin, &["runs", "list"]);
    assert!(unnamed.stderr.contains("AGENT_USER_ID"), "{unnamed:?}");
    unnamed.expect(2);
    let mut stranger = server.client(["runs", "list"]);
    stranger.env("OPENINTERN_API_KEY", key).env("AGENT_ORG_ID", "other");
    answer(stranger).expect(4);

    let list = ask(&admin, &["keys", "list"]).expect(0);
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].contains("\tli\truns:read,runs:write\t"), "{list}");
    assert!(lines[1].ends_with("\tthe first") && !list.contains(key), "{list}");
    let key_id = made["key_id"].as_str().unwrap();
    assert_eq!(
        ask(&admin, &["keys", "revoke", key_id]).expect(0),
        format!("{key_id} is revoked\n")
    );
    ask(key, &["runs", "list"]).expect(4);
    ask(&admin, &["keys", "revoke", "key_01h455vb4pex5vsknk084sn02q"]).expect(5);

    let (status, _, stderr) = server.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("oi_"), "{stderr}");
}
