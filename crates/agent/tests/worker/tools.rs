//! What the model reads when it calls a tool.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use mcp::{
    config::{ServerConfig, ToolConfig},
    process::Launcher,
    servers::Servers,
};
use model::scripted::{Reply, Scripted};
use protocol::{event::Fact, run::CreateRun, tool::Approval};
use serde_json::{Value, json};

use crate::World;

/// What the model reads when it makes this call.
async fn check(tool: &str, args: Value, want: Expect) {
    let world = World::new(Scripted::in_order([Reply::call(tool, args), Reply::text("ok")])).await;
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("notes.md"), "# 会议\n周三上线\n").unwrap();
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(crate::PATIENCE).await;
    let results: Vec<_> = world
        .events(run.run_id)
        .await
        .into_iter()
        .filter_map(|event| match event.fact {
            Fact::ToolResult { result, outcome, .. } => Some(format!("{outcome:?} {result}")),
            _ => None,
        })
        .collect();
    want.assert_eq(&results.join("\n"));
}

#[tokio::test]
async fn a_file_of_the_workspace_is_read() {
    check(
        "read_file",
        json!({"path": "notes.md"}),
        expect![[r##"Ok {"path":"notes.md","text":"# 会议\n周三上线","lines":2,"first_line":1,"total_lines":2}"##]],
    )
    .await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_an_answer_that_says_why() {
    check(
        "memory_search",
        json!({"query": "", "top_k": 99, "scope": {"org_id": "org_b"}}),
        expect![[r#"Error "the arguments do not match the tool's schema: /query: \"\" is shorter than 1 character; /top_k: 99 is greater than the maximum of 50; Additional properties are not allowed ('scope' was unexpected)""#]],
    )
    .await;
}

#[tokio::test]
async fn arguments_that_are_no_json_are_an_answer() {
    check(
        "memory_search",
        Value::String("{\"query\": x}".into()),
        expect![[r#"Error "the arguments must be a JSON object""#]],
    )
    .await;
}

#[tokio::test]
async fn a_tool_that_does_not_exist_is_an_answer_that_names_the_others() {
    check(
        "rm_rf",
        json!({}),
        expect![[r#"Error "there is no tool `rm_rf`; use one of: export_trace, memory_get, memory_search, memory_write, read_file, result_read""#]],
    )
    .await;
}

#[tokio::test]
async fn a_foreign_run_is_absent() {
    check(
        "export_trace",
        json!({"run_id": "run_01h455vb4pex5vsknk084sn02q"}),
        expect![[r#"Error "there is no run `run_01h455vb4pex5vsknk084sn02q`""#]],
    )
    .await;
}

#[tokio::test]
async fn an_agent_has_only_the_tools_it_may_call() {
    let mut world = World::new(Scripted::in_order([
        Reply::call("memory_write", json!({"type": "core", "text": "x"})),
        Reply::text("ok"),
    ]))
    .await;
    world.agent.tools = Some(vec!["read_*".into()]);
    let story = world.story(&CreateRun::new("x")).await;
    assert!(story.contains("there is no tool `memory_write`; use one of: read_file"), "{story}");
    assert_eq!(world.script.requests()[0].tools.len(), 1);
}

#[tokio::test]
async fn a_huge_file_is_cut_in_the_prompt_but_whole_in_the_event() {
    let world = World::new(Scripted::in_order([
        Reply::call("read_file", json!({"path": "long.txt", "limit": 5000})),
        Reply::text("ok"),
    ]))
    .await;
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("long.txt"), "字\n".repeat(40_000)).unwrap();
    let story = world.story(&CreateRun::new("x")).await;
    assert!(story.contains("\"total_lines\":40000"), "{}", &story[..400]);
    let asked = serde_json::to_string(&world.script.requests()[1].messages).unwrap();
    assert!(asked.len() < 120_000, "{}", asked.len());
}

#[tokio::test]
async fn a_skill_is_called_and_one_that_needs_a_person_is_not() {
    let text = json!({"text": "你好 world"});
    let mut world = World::new(Scripted::in_order([
        Reply::call("textkit__text_stats", text).and_call("textkit__date_add", json!({})),
        Reply::text("ok"),
    ]))
    .await;
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python");
    assert!(std::path::Path::new(python).exists(), "`make deps` makes the Python environment");
    let mut textkit = ServerConfig::new(python, ["-m", "textkit"]);
    let ask = ToolConfig { approval: Approval::Ask, ..ToolConfig::default() };
    textkit.tools.insert("date_add".into(), ask);
    let servers = BTreeMap::from([("textkit".to_owned(), textkit)]);
    world.mcp = Arc::new(Servers::start(servers, Launcher::plain(), std::env::vars_os()).await);
    let story = world.story(&CreateRun::new("x")).await;
    world.mcp.stop().await;
    assert!(story.contains("result textkit__text_stats Ok"), "{story}");
    assert!(story.contains("result textkit__date_add Denied"), "{story}");
}
