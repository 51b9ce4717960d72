//! Client commands: what they print, and their exit codes.

use std::process::Stdio;

use serde_json::Value;

use crate::program::{Dev, answer, folder, openintern, source};

const ABSENT_RUN: &str = "run_01h455vb4pex5vsknk084sn02q";
const ABSENT_MEMORY: &str = "mem_01h455vb4pex5vsknk084sn02q";

#[test]
fn what_commands_print_and_how_they_end() {
    let folder = folder();
    let dev = Dev::start(&folder.path().join("data"));
    runs(&dev);
    memories(&dev);
    scopes(&dev);
    catalogs(&dev);
    a_reader_that_goes_away(&dev);
    doctor(&dev);
}

fn runs(dev: &Dev) {
    let run_id = dev.ask(["run", "hello", "--session", "talk"]).expect(0);
    let run_id = run_id.trim();
    assert!(run_id.starts_with("run_"), "{run_id}");
    let created = dev.ask(["run", "hello", "--json"]).expect(0);
    let created: Value = serde_json::from_str(&created).unwrap();
    assert_eq!(created["status"], "pending");
    dev.ask(["tail", run_id]).expect(0);
    let sent = dev.ask(["context", run_id, "1"]).expect(0);
    assert!(sent.contains("task\t") && sent.contains("tokens"), "{sent}");
    let sent = dev.ask(["context", run_id, "1", "--text", "--json"]).expect(0);
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["text"]["messages"][0]["content"], "hello");
    dev.ask(["context", run_id, "2"]).expect(5);
    dev.ask(["context", run_id, "0"]).expect(2);

    let ended = dev.ask(["cancel", run_id]);
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(ended.stderr.contains("\nrequest: "), "{ended:?}");
    ended.expect(8);
    for command in [["cancel"].as_slice(), &["tail"], &["events"], &["export"], &["runs", "get"]] {
        let absent = dev.ask(command.iter().copied().chain([ABSENT_RUN]));
        assert!(absent.stderr.contains("hint: "), "{absent:?}");
        assert_eq!(absent.expect(5), "", "{command:?}");
    }
    dev.ask(["cancel", "run_1"]).expect(2);
    dev.ask(["run", " "]).expect(2);
    let refused = dev.ask(["run", "x", "--model", "nowhere/x", "--wait"]);
    assert!(refused.stderr.contains("provider `nowhere` is unknown"), "{refused:?}");
    refused.expect(2);
    dev.ask(["run", "x", "--agent", "nobody"]).expect(2);

    let mut piped = dev.client(["run", "-", "--wait", "--json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    piped.stdin(reader);
    std::io::Write::write_all(&mut &writer, "from a pipe".as_bytes()).unwrap();
    drop(writer);
    let run: Value = serde_json::from_str(&answer(piped).expect(0)).unwrap();
    assert_eq!(run["input"], "from a pipe");

    let list = dev.ask(["runs", "list", "--session", "talk", "--json"]).expect(0);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["session_key"], "s_talk");
    let page = dev.ask(["runs", "list", "--limit", "1"]);
    assert!(page.stderr.contains("--cursor "), "{page:?}");
    assert_eq!(page.expect(0).lines().count(), 1);
    dev.ask(["runs", "list", "--limit", "0"]).expect(2);
    let found = dev.ask(["runs", "list", "--query", "FROM A PIPE", "--json"]).expect(0);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&found).unwrap().len(), 1, "{found}");
    dev.ask(["runs", "list", "--since", "yesterday"]).expect(2);

    let trace = dev.ask(["runs", "trace", run_id]).expect(0);
    assert!(trace.contains("step_0001") && trace.contains("demo/default"), "{trace}");
    let steps = dev.ask(["runs", "checkpoints", run_id]).expect(0);
    assert_eq!(steps.lines().count(), 1, "{steps}");
    let fork = ["runs", "fork", run_id, "--from-step", "1"];
    let mute = dev.ask(fork);
    assert!(mute.stderr.contains("hint: say something new"), "{mute:?}");
    mute.expect(2);
    let forked = dev.ask(fork.into_iter().chain(["--input", "and now?", "--wait", "--json"]));
    let forked: Value = serde_json::from_str(&forked.expect(0)).unwrap();
    assert_eq!((&forked["parent_run_id"], &forked["input"]), (&run_id.into(), &"and now?".into()));
    let of_it = dev.ask(["runs", "list", "--parent", run_id]).expect(0);
    assert!(of_it.contains(forked["run_id"].as_str().unwrap()), "{of_it}");
    dev.ask(["runs", "fork", ABSENT_RUN, "--from-step", "0"]).expect(5);
}

fn memories(dev: &Dev) {
    let id = dev.ask(["memory", "write", "The gate code is 4711", "--importance", "0.9"]).expect(0);
    let id = id.trim();
    assert_eq!(dev.ask(["memory", "get", id]).expect(0), "The gate code is 4711\n");
    let hits = dev.ask(["memory", "search", "gate code"]).expect(0);
    assert!(hits.contains("4711") && hits.contains(id), "{hits}");
    let explained = dev.ask(["memory", "search", "gate code", "--explain", "--json"]).expect(0);
    assert!(explained.contains("\"lexical\""), "{explained}");
    dev.ask(["memory", "edit", id, "--text", "The gate code is 1234"]).expect(0);
    assert_eq!(dev.ask(["memory", "get", id]).expect(0), "The gate code is 1234\n");
    let list = dev.ask(["memory", "list", "--type", "archival", "--json"]).expect(0);
    assert!(list.contains(id), "{list}");
    dev.ask(["memory", "delete", id]).expect(0);
    dev.ask(["memory", "get", id]).expect(5);
    dev.ask(["memory", "get", ABSENT_MEMORY]).expect(5);
    dev.ask(["memory", "write", "x", "--importance", "2"]).expect(2);
    dev.ask(["memory", "write", "x", "--metadata", "[]"]).expect(2);
    dev.ask(["memory", "edit", id]).expect(2);

    let first = dev.ask(["memory", "write", "The attic door has lock number 12."]).expect(0);
    let second = dev.ask(["memory", "write", "Lock number 12 has the attic door"]).expect(0);
    let row = format!("{}\tduplicate\t{}", second.trim(), first.trim());
    for args in [["memory", "consolidate", "--dry-run"].as_slice(), &["memory", "consolidate"]] {
        let found = dev.ask(args.iter().copied()).expect(0);
        assert!(found.contains(&row), "{found}");
    }
    let again = dev.ask(["memory", "consolidate"]).expect(0);
    assert!(!again.contains(&row), "{again}");
}

fn scopes(dev: &Dev) {
    let id = dev.ask(["memory", "write", "ours alone"]).expect(0);
    let mut stranger = dev.client(["memory", "get", id.trim()]);
    stranger.env("AGENT_ORG_ID", "another");
    answer(stranger).expect(5);
    let mut project = dev.client(["memory", "get", id.trim()]);
    project.env("AGENT_PROJECT_ID", "p");
    answer(project).expect(5);
    let mut odd = dev.client(["runs", "list"]);
    odd.env("AGENT_USER_ID", "a b");
    answer(odd).expect(2);
}

/// What was used, and who works.
fn operators(dev: &Dev) {
    dev.ask(["run", "hello", "--wait"]).expect(0);
    let json = |text: String| serde_json::from_str::<Vec<Value>>(&text).unwrap();
    let usage = json(dev.ask(["usage", "--json"]).expect(0));
    assert_eq!(usage[0]["name"], "demo/default");
    let day = usage[0]["at"].as_str().unwrap()[..10].to_owned();
    assert!(dev.ask(["usage"]).expect(0).starts_with(&format!("{day}\tdemo/default\t")));
    let by_user = dev.ask(["usage", "--by", "user", "--per", "hour"]).expect(0);
    assert!(by_user.contains("\tuser_"), "{by_user}");
    let projects = dev.ask(["usage", "--by", "project"]).expect(0);
    assert!(projects.contains("\tno project\t"), "{projects}");
    let since = ["usage", "--organisation", "--since", "2020-01-01T00:00:00Z"];
    dev.ask(since).expect(2);
    dev.ask(["usage", "--by", "colour"]).expect(2);

    let nodes = json(dev.ask(["nodes", "--json"]).expect(0));
    assert_eq!(nodes[0]["is_alive"], true);
    let id = nodes[0]["node_id"].as_str().unwrap();
    assert!(dev.ask(["nodes"]).expect(0).starts_with(&format!("{id}\talive\t")));
}

fn catalogs(dev: &Dev) {
    let tools = dev.ask(["tools", "--json"]).expect(0);
    let tools: Vec<Value> = serde_json::from_str(&tools).unwrap();
    let names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    for name in ["memory_search", "memory_get", "memory_write", "read_file", "result_read"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(names.contains(&"textkit__date_add"), "{names:?}");
    assert!(dev.ask(["tools"]).expect(0).contains("memory_search\tbuiltin\tread_only\t"));
    assert!(dev.ask(["agents"]).expect(0).starts_with("main\tdemo/default\t"));
    operators(dev);

    let document: Value = serde_json::from_str(&answer(openintern(["openapi"])).expect(0)).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for shell in ["bash", "zsh", "fish"] {
        assert!(answer(openintern(["completions", shell])).expect(0).contains("openintern"));
    }
    let version = answer(openintern(["--version"])).expect(0);
    assert_eq!(version, format!("openintern {}\n", env!("CARGO_PKG_VERSION")));
}

fn a_reader_that_goes_away(dev: &Dev) {
    let mut child =
        dev.client(["runs", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

fn doctor(dev: &Dev) {
    let mut command = dev.client(["doctor", "--json", "--data-dir"]);
    let checks = answer({
        command.arg(std::env::temp_dir().join("openintern-doctor-none"));
        command
    });
    let checks: Vec<Value> = serde_json::from_str(&checks.expect(0)).unwrap();
    let state = |part: &str| {
        let check = checks.iter().find(|check| check["part"] == part);
        check.unwrap_or_else(|| panic!("no {part} in {checks:?}"))["state"].clone()
    };
    for part in ["config", "database", "mcp", "disk", "server"] {
        assert_eq!(state(part), "good", "{checks:?}");
    }
    assert_eq!(state("embedding"), "odd", "no weights are installed");
    assert_eq!(state("model"), "odd", "the demo is no language model");

    let data = folder();
    let with_data = |args: &[&str]| {
        let mut command = openintern(args);
        command.arg("--data-dir").arg(data.path());
        answer(command)
    };
    let weights = source().join(".cache/embedder");
    let install = ["embedder", "install", "--from", weights.to_str().unwrap()];
    assert!(with_data(&install).expect(0).starts_with("installed: "));
    assert!(with_data(&install).expect(0).starts_with("already there: "));
    let checks = with_data(&["doctor", "--json"]).stdout;
    assert!(checks.contains("local/multilingual-e5-small@256+pca1, 256 dimensions"), "{checks}");
    with_data(&["embedder", "install", "--from", "/nonexistent"]).expect(0);
    std::fs::write(data.path().join("embedder/e5-small-q4.bin"), "E5S1").unwrap();
    let broken = with_data(&["doctor", "--json"]).stdout;
    assert!(broken.contains("`embedding.weights`"), "{broken}");
    let absent = with_data(&["embedder", "install", "--from", "/nonexistent"]);
    assert!(absent.stderr.contains("hint: "), "{absent:?}");
    absent.expect(2);

    let mut broken = dev.client(["doctor"]);
    broken.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing");
    let broken = answer(broken).expect(1);
    assert!(broken.contains("✗ database"), "{broken}");
    assert!(broken.contains("fix: "), "{broken}");
}
