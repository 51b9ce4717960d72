//! Watching a run while things happen: Ctrl-C, and a server that dies and comes back.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::program::{Dev, Running, folder};

/// The demo repeats it at forty characters a second.
fn long_task() -> String {
    format!("记住：{}", "我们的会议每周二上午十点在三楼举行，".repeat(12))
}

#[test]
fn ctrl_c_leaves_the_run_going_and_a_second_one_cancels_it() {
    let folder = folder();
    let dev = Dev::start(&folder.path().join("data"));
    let watch = |task: &str| {
        let args = ["run", task, "--model", "demo/paced", "--stream", "--json"];
        let watching = Running::start(dev.client(args));
        let first: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!(first["type"], "run.started");
        (watching, first["run_id"].as_str().unwrap().to_owned())
    };

    let (watching, run_id) = watch(&long_task());
    watching.signal(Signal::SIGINT);
    let (status, _, stderr) = watching.end();
    assert_eq!(status.code(), Some(130));
    assert!(stderr.contains(&format!("Resume: openintern tail {run_id} --cursor ")), "{stderr}");
    let rest = dev.ask(["tail", &run_id]).expect(0);
    assert!(rest.contains("run.completed"), "{rest}");

    let (watching, run_id) = watch(&long_task());
    watching.signal(Signal::SIGINT);
    watching.wait_until_said("cancels it");
    watching.signal(Signal::SIGINT);
    assert_eq!(watching.end().0.code(), Some(130));
    let end = dev.ask(["tail", &run_id]).expect(3);
    assert!(end.contains("run.cancelled"), "{end}");
}

#[test]
fn a_watcher_survives_the_death_of_its_server() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let dev = Dev::start(&data_dir);
    let port = dev.port();
    let args = ["run", &long_task(), "--model", "demo/paced", "--stream", "--json"];
    let watching = Running::start(dev.client(args));
    let mut seen: Vec<Value> = Vec::new();
    let mut see = |line: String| seen.push(serde_json::from_str(&line).unwrap());
    see(watching.line_with("run.started"));
    dev.running.signal(Signal::SIGKILL);
    dev.running.end();

    let dev = Dev::start_on(&data_dir, port);
    let (status, rest, stderr) = watching.end();
    rest.lines().for_each(|line| see(line.to_owned()));
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("connection lost") && stderr.contains("connected again"), "{stderr}");
    let seqs: Vec<u64> = seen.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "each event once");
    let types: Vec<_> = seen.iter().filter_map(|event| event["type"].as_str()).collect();
    assert!(types.contains(&"run.resumed"), "{types:?}");
    assert_eq!(types.last(), Some(&"run.completed"));
    drop(dev);
}
