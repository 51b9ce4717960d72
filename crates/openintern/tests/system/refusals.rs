//! What is configured wrongly is said in one line, with what to do.

use std::process::Command;

use crate::program::{Dev, answer, folder, openintern};

/// The exit code, and a text in each of the two lines of the refusal.
#[track_caller]
fn check(command: Command, code: i32, error: &str, hint: &str) {
    let refusal = answer(command);
    assert_eq!(refusal.code, code, "{refusal:?}");
    assert_eq!(refusal.stdout, "");
    let mut lines = refusal.stderr.lines().filter(|line| !line.starts_with(['✓', '!']));
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(first.starts_with("error: ") && first.contains(error), "{}", refusal.stderr);
    assert!(second.starts_with("hint: ") && second.contains(hint), "{}", refusal.stderr);
    assert_eq!(lines.next(), None, "{}", refusal.stderr);
}

#[test]
fn a_misconfigured_start_says_what_to_do() {
    let folder = folder();
    let dev = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = openintern(["dev"]);
        command.env("OPENINTERN_PORT", "0").env("OPENINTERN_DATA_DIR", folder.path().join("data"));
        command.args(args).envs(variables.iter().copied());
        command
    };
    let file = |text: &str| {
        let path = folder.path().join("openintern.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let misspelt = file("[server]\nprot = 3000\n");
    check(dev(&["--config", &misspelt], &[]), 2, "unknown key `server.prot`", "`port`");
    let broken = file("[server\n");
    let refusal = answer(dev(&["--config", &broken], &[]));
    assert_eq!(refusal.code, 2);
    assert!(refusal.stderr.contains("is not valid TOML: line 1"), "{}", refusal.stderr);
    check(dev(&["--config", "/nowhere.toml"], &[]), 2, "`/nowhere.toml`", "--config");
    let huge = file(&format!("# {}", "x".repeat(5 << 20)));
    check(dev(&["--config", &huge], &[]), 2, "more than 4194304 bytes", "shorter");
    let nonsense = file("[worker]\nconcurrency = 0\n");
    check(
        dev(&["--config", &nonsense], &[]),
        2,
        "is `0`, but must be a whole number from 1 to 100000",
        "one for each 2 MiB",
    );
    let contradiction = file("[worker]\nrenew_ms = 9000\n");
    check(
        dev(&["--config", &contradiction], &[]),
        2,
        "twice `worker.renew_ms` is 18000, more than `worker.lease_ms` = 10000",
        "lower the first",
    );
    let server = file("[mcp_servers.\"a b\"]\ncommand = 'x'\n");
    check(dev(&["--config", &server], &[]), 2, "`mcp_servers.\"a b\"`", "A-Z a-z 0-9 _ -");
    check(
        dev(&[], &[("OPENINTERN__WORKER__LEASE_MS", "nan")]),
        2,
        "variable `OPENINTERN__WORKER__LEASE_MS` is `nan`",
        "`10000`",
    );
    check(
        dev(&[], &[("OPENINTERN__WORKER__POLL_MS", "20"), ("OPENINTERN__worker__poll_ms", "30")]),
        2,
        "set the same key",
        "leave one of them out",
    );
    check(dev(&[], &[("OPENINTERN__SERVER__PROT", "1")]), 2, "OPENINTERN__SERVER__PROT", "`port`");
    check(
        dev(&[], &[("OPENINTERN_MODEL", "openai/gpt-5-mini")]),
        2,
        "`openai` has no API key",
        "OPENAI_API_KEY",
    );
    check(dev(&[], &[("DATABASE_URL", "nonsense")]), 2, "DATABASE_URL", "postgres://");
    check(
        dev(&[], &[("DATABASE_URL", "postgres://u:hidden@127.0.0.1:1/d")]),
        1,
        "127.0.0.1:1/d",
        "DATABASE_URL",
    );
    check(dev(&["--host", "0.0.0.0"], &[]), 2, "`auth`", "127.0.0.1");
    check(dev(&["--host", "nowhere.invalid"], &[]), 2, "nowhere.invalid", "--host");
    check(dev(&["--data-dir", "/dev/null/x"], &[]), 1, "/dev/null", "--data-dir");
    check(dev(&[], &[("OPENINTERN_LOG", "a=b=c")]), 2, "log filter", "OPENINTERN_LOG");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check(dev(&["--port", &port], &[]), 1, "is in use", "--port");
}

#[test]
fn serve_names_all_that_is_missing_at_once() {
    let refusal = answer(openintern(["serve", "--host", "0.0.0.0", "--port", "0"]));
    assert_eq!(refusal.code, 2);
    let error = refusal.stderr.lines().next().unwrap_or_default();
    assert!(error.contains("DATABASE_URL") && error.contains("auth"), "{error}");
    check(openintern(["serve", "--port", "0"]), 2, "DATABASE_URL", "auth");
    let jwt = |args: &[&str]| {
        let mut command = openintern(args);
        command.env("OPENINTERN__SERVER__AUTH", "jwt");
        command.env("OPENINTERN__AUTH__JWT__ISSUER", "https://issuer.example");
        command
    };
    let lacking = "`audience`, `jwks_url (or jwks_file)`";
    let serve = ["serve", "--host", "0.0.0.0", "--port", "0"];
    check(
        jwt(&serve),
        2,
        &format!(
            "DATABASE_URL`: a production server brings no database; and the table `[auth.jwt]` of `auth = \"jwt\"` with its keys {lacking}"
        ),
        "auth",
    );
    check(openintern(["worker"]), 2, "DATABASE_URL", "postgres://");
    check(openintern(["migrate"]), 2, "DATABASE_URL", "postgres://");
}

#[test]
fn a_server_that_is_down_is_exit_6() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for args in [["run", "hello"].as_slice(), &["runs", "list"], &["memory", "search", "x"]] {
        let mut command = openintern(args);
        command.env("AGENT_API_URL", &url);
        check(command, 6, &url, "openintern dev");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set_and_a_flag_may_be_a_number() {
    let listed = |json: &str, limit: &str| {
        let mut command = openintern(["runs", "list"]);
        command.env("OPENINTERN_JSON", json).env("OPENINTERN_LIMIT", limit);
        // Nobody listens there: it came as far as to ask.
        command.env("AGENT_API_URL", "http://127.0.0.1:9");
        answer(command).code
    };
    for json in ["", "1", "0", "true", "yes", "off"] {
        assert_eq!(listed(json, ""), 6, "{json}");
    }
    assert_eq!(listed("perhaps", ""), 2);
    assert_eq!(listed("1", "many"), 2);
}

#[test]
fn a_second_instance_on_the_same_folder_is_refused() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let first = Dev::start(&data_dir);
    let mut second = openintern(["dev", "--port", "0", "--data-dir"]);
    second.arg(&data_dir);
    check(second, 1, "in use by another instance", "another data folder");
    drop(first);
}
