//! Memories from one scope into another, as lines: nothing is lost, nothing comes twice.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::program::{Answer, Dev, Running, answer, folder};

/// A client command in the scope of a user.
fn of(dev: &Dev, user: &str, args: &[&str]) -> Command {
    let mut command = dev.client(args.iter().copied());
    command.env("AGENT_USER_ID", user);
    command
}

fn export(dev: &Dev, user: &str) -> Vec<Value> {
    let text = answer(of(dev, user, &["memory", "export"])).expect(0);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Without what a scope gives by itself.
fn bare(mut memories: Vec<Value>) -> Vec<Value> {
    for memory in &mut memories {
        for key in ["id", "created_at", "updated_at"] {
            assert!(memory.as_object_mut().unwrap().remove(key).is_some(), "{memory}");
        }
    }
    memories
}

fn import(dev: &Dev, user: &str, args: &[&str], lines: &str) -> Answer {
    let mut command = of(dev, user, &[["memory", "import", "-"].as_slice(), args].concat());
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(reader);
    let lines = lines.to_owned();
    let feeder = std::thread::spawn(move || {
        writer.write_all(lines.as_bytes()).ok(); // It may stop reading at a bad line.
    });
    let answer = answer(command);
    feeder.join().unwrap();
    answer
}

#[test]
fn what_is_exported_can_be_imported() {
    let folder = folder();
    let dev = Dev::start(&folder.path().join("data"));
    let written = [
        json!({"type": "core", "text": "我女儿叫小雨 🌧️", "importance": 0.9}),
        json!({"type": "archival", "text": "Line one\nline \"two\"\t\\ \u{2028}", "group_key": "文档",
               "position": -1, "metadata": {"n": 1.5, "deep": {"list": [null, true, "ß"]}}}),
        json!({"type": "episodic", "text": "went there", "occurred_at": "2023-05-04"}),
        json!({"type": "episodic", "text": "went there", "occurred_at": "2023-05-04T05:56:00.000Z"}),
        json!({"type": "episodic", "text": "went there",
               "occurred_at": "2023-05-03T23:30:00.000-05:00"}),
        json!({"type": "archival", "text": "x".repeat(300_000), "importance": 0.1}),
    ];
    let lines: String = written.iter().map(|memory| format!("{memory}\n")).collect();
    let done = import(&dev, "first", &[], &lines).expect(0);
    assert_eq!(done, "memories written: 6, there already: 0\n");
    let first = export(&dev, "first");
    for (memory, written) in first.iter().zip(&written) {
        for (key, value) in written.as_object().unwrap() {
            assert_eq!(&memory[key], value, "{key}");
        }
    }

    let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
    let text = answer(of(&dev, "first", &["memory", "export"])).expect(0);
    write!(file, "\u{feff}{}\r\n\n", text.trim_end()).unwrap();
    let path = file.path().to_str().unwrap();
    let checked = answer(of(&dev, "second", &["memory", "import", path, "--dry-run"])).expect(0);
    assert_eq!(checked, "memories checked, none written: 6\n");
    assert_eq!(export(&dev, "second"), [] as [Value; 0]);
    let done = answer(of(&dev, "second", &["memory", "import", path])).expect(0);
    assert_eq!(done, "memories written: 6, there already: 0\n");
    let second = export(&dev, "second");
    assert_eq!(bare(second.clone()), bare(first), "in the same order");
    let again = answer(of(&dev, "second", &["memory", "import", path, "--json"])).expect(0);
    assert_eq!(
        serde_json::from_str::<Value>(&again).unwrap(),
        json!({"written": 0, "there_already": 6})
    );
    assert_eq!(export(&dev, "second"), second);

    let part = answer(of(&dev, "second", &["memory", "export", "--type", "episodic"])).expect(0);
    assert_eq!(part.lines().count(), 3);
    let part = answer(of(&dev, "second", &["memory", "export", "--group-key", "文档"])).expect(0);
    assert_eq!(part.lines().count(), 1);
    bad_lines(&dev);
    edits(&dev);
    a_broken_off_import(&dev);
}

fn bad_lines(dev: &Dev) {
    let good = |n: usize| format!("{{\"type\":\"core\",\"text\":\"good {n}\"}}\n");
    let check = |lines: &str, want: &str| {
        for args in [["--json"].as_slice(), &["--dry-run"]] {
            let refused = import(dev, "third", args, lines);
            assert!(refused.stderr.starts_with(&format!("error: {want}")), "{refused:?}");
            assert!(refused.stderr.contains("\nhint: nothing was written"), "{refused:?}");
            assert_eq!(refused.expect(2), "");
            assert_eq!(export(dev, "third"), [] as [Value; 0]);
        }
    };
    let after = |bad: &str| format!("{}\n{}{bad}\n{}", good(1), good(2), good(3));
    check(
        &after(r#"{"type":"core","text":"a","importance":2}"#),
        "line 4: /importance must be 0 to 1",
    );
    check(&after(r#"{"type":"core","text":" ","importance":"x"}"#), "line 4: /importance ");
    check(&after(r#"{"type":"working","text":"a"}"#), "line 4: /type ");
    check(&after(r#"{"type":"core","text":"a","colour":"red"}"#), "line 4: /colour ");
    check(&after(r#"{"type":"core","text":"a\u0000"}"#), "line 4: /text ");
    check(&after("not json"), "line 4: is not JSON");
    check(&after(r#"{"type":"core","text":"a"} {"#), "line 4: goes on behind the end of the JSON");
    check("[]", "line 1: must be a JSON object");
    answer(of(dev, "third", &["memory", "import", "/nowhere.jsonl"])).expect(2);
    answer(of(dev, "third", &["memory", "import", "/"])).expect(2);
    assert_eq!(import(dev, "third", &[], "").expect(0), "memories written: 0, there already: 0\n");

    // What comes before the bad line's batch is written; the mended file finishes it.
    let many: String = (0..600).map(good).collect();
    let refused = import(dev, "third", &[], &format!("{many}bad\n"));
    assert!(refused.stderr.contains("error: line 601: "), "{refused:?}");
    assert!(refused.stderr.contains("hint: written before it: 500;"), "{refused:?}");
    refused.expect(2);
    assert_eq!(export(dev, "third").len(), 500);
    let done = import(dev, "third", &[], &many).expect(0);
    assert_eq!(done, "memories written: 100, there already: 500\n");
}

fn edits(dev: &Dev) {
    let id = dev.ask(["memory", "write", "one"]).expect(0);
    let id = id.trim();
    assert_eq!(dev.ask(["memory", "versions", id]).expect(0), "");
    dev.ask(["memory", "edit", id, "--text", "two"]).expect(0);
    dev.ask(["memory", "edit", id, "--importance", "1"]).expect(0);
    let listed = dev.ask(["memory", "versions", id]).expect(0);
    let rows: Vec<Vec<_>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    let shown: Vec<_> = rows.iter().map(|row| (row[0], row[2], row[3])).collect();
    assert_eq!(shown, [("2", "–", "two"), ("1", "–", "one")]);
    let page = dev.ask(["memory", "versions", id, "--limit", "1", "--json"]);
    assert!(page.stderr.contains("--cursor 2"), "{page:?}");
    let versions: Vec<Value> = serde_json::from_str(&page.expect(0)).unwrap();
    assert_eq!((versions.len(), &versions[0]["text"]), (1, &json!("two")));
    answer(of(dev, "stranger", &["memory", "versions", id])).expect(5);
}

/// A `kill -9` in the middle, and the same again.
fn a_broken_off_import(dev: &Dev) {
    // Larger than what pipes and buffers hold: once it is taken, most of it is written.
    let padding = "p".repeat(1_000);
    let lines: Vec<_> = (0..1_700)
        .map(|n| json!({"type": "archival", "text": format!("fact {n}"), "metadata": {"p": padding}}))
        .map(|memory| format!("{memory}\n"))
        .collect();
    let mut command = of(dev, "fourth", &["memory", "import", "-"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::from(reader));
    let running = Running::start(command);
    writer.write_all(lines[..1_400].concat().as_bytes()).unwrap();
    running.signal(Signal::SIGKILL);
    running.end();
    drop(writer);
    let kept = export(dev, "fourth").len();
    assert!((1_000..1_400).contains(&kept), "{kept}");
    let done = import(dev, "fourth", &[], &lines.concat()).expect(0);
    assert_eq!(done, format!("memories written: {}, there already: {kept}\n", 1_700 - kept));
    let texts: Vec<_> = export(dev, "fourth").iter().map(|memory| memory["text"].clone()).collect();
    let want: Vec<_> = (0..1_700).map(|n| json!(format!("fact {n}"))).collect();
    assert_eq!(texts, want);
}
