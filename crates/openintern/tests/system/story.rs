//! One story from an empty folder: remember, find, read, use a Python skill, look back, die, return.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{Dev, folder};

#[test]
fn a_first_day() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let dev = Dev::start(&data_dir);
    for part in ["config", "postgres", "model", "mcp", "worker"] {
        dev.running.wait_until_said(&format!("✓ {part}"));
    }
    dev.running.wait_until_said("textkit: 4 tools");

    // A fact is remembered in one run and found in the next, of another session.
    let lines =
        dev.ask(["run", "记住：我最喜欢的颜色是青色", "--session", "demo", "--stream"]).expect(0);
    let at = |text: &str| lines.find(text).unwrap_or_else(|| panic!("no {text} in {lines}"));
    assert!(at("run.started") < at("tool.called       memory_write"), "{lines}");
    assert!(at("memory_write ok") < at("我记住了"), "{lines}");
    assert!(at("我记住了") < at("run.completed"), "{lines}");
    assert_eq!(lines.matches("我记住了").count(), 1, "drawn from the deltas, once: {lines}");
    let found = dev.ask(["run", "我最喜欢的颜色是什么？", "--wait"]).expect(0);
    assert!(found.contains("青色"), "{found}");
    let hits = dev.ask(["memory", "search", "喜欢 颜色", "--json"]).expect(0);
    let hits: Vec<Value> = serde_json::from_str(&hits).unwrap();
    assert!(hits[0]["snippet"].as_str().unwrap().contains("青色"), "{hits:?}");

    // A file of the workspace, and its text through the Python skill.
    let workspace = data_dir.join("workspaces/org-org_default/user-user_default/no-project");
    std::fs::create_dir_all(&workspace).unwrap();
    std::fs::write(workspace.join("notes.md"), "今天写了三页。\n明天开会。\n").unwrap();
    let lines = dev.ask(["run", "读取 notes.md，然后统计字数", "--stream", "--json"]).expect(0);
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(events[0]["type"], "run.started");
    assert_eq!(events.last().unwrap()["type"], "run.completed");
    let result_of = |tool: &str| {
        let is_result = |event: &&Value| {
            event["type"] == "tool.result" && event["payload"]["tool"].as_str() == Some(tool)
        };
        events.iter().find(is_result).unwrap_or_else(|| panic!("no {tool} in {lines}"))
    };
    assert!(result_of("read_file").to_string().contains("今天写了三页"), "{lines}");
    assert_eq!(result_of("textkit__text_stats")["payload"]["outcome"], "ok");

    // Looking back: the same events, however they are asked for.
    let run_id = events[0]["run_id"].as_str().unwrap();
    assert_eq!(dev.ask(["events", run_id, "--json"]).expect(0), lines);
    assert_eq!(dev.ask(["export", run_id]).expect(0), lines);
    assert_eq!(dev.ask(["tail", run_id, "--json"]).expect(0), lines);
    let last = (seqs.len() - 1).to_string();
    let tail = dev.ask(["tail", run_id, "--json", "--cursor", &last]).expect(0);
    assert_eq!(tail.lines().count(), 1);
    let end = seqs.len().to_string();
    assert_eq!(dev.ask(["tail", run_id, "--cursor", &end]).expect(0), "");
    let trace = dev.ask(["export", run_id, "--format", "json"]).expect(0);
    let trace: Value = serde_json::from_str(&trace).unwrap();
    assert_eq!(trace["run"]["status"], "completed");
    assert_eq!(trace["events"].as_array().unwrap().len(), events.len());

    // It is killed, with Postgres left behind; the next start finds everything.
    dev.running.signal(Signal::SIGKILL);
    let (status, ..) = dev.running.end();
    assert!(!status.success());
    let dev = Dev::start(&data_dir);
    let run: Value =
        serde_json::from_str(&dev.ask(["runs", "get", run_id, "--json"]).expect(0)).unwrap();
    assert_eq!(run["status"], "completed");
    assert_eq!(dev.ask(["export", run_id]).expect(0), lines);
    let found = dev.ask(["run", "我最喜欢的颜色是什么？", "--wait"]).expect(0);
    assert!(found.contains("青色"), "{found}");

    // Asked to stop, it takes Postgres with it.
    let (status, _, stderr) = dev.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!data_dir.join("postgres/cluster/postmaster.pid").exists());
}

/// A run that does not end by itself soon is in hand; whoever insists does not wait for it.
#[test]
fn insisting_on_a_stop_does_not_wait_and_still_takes_postgres_along() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let dev = Dev::start(&data_dir);
    let many = "read the file a.md; ".repeat(12);
    dev.ask(["run", &many, "--model", "demo/paced"]).expect(0);
    dev.running.signal(Signal::SIGINT);
    dev.running.wait_until_said("stopping");
    dev.running.signal(Signal::SIGTERM);
    let (status, _, stderr) = dev.running.end();
    assert!([Some(0), Some(130)].contains(&status.code()), "{status}: {stderr}");
    assert!(!data_dir.join("postgres/cluster/postmaster.pid").exists(), "{stderr}");
}
