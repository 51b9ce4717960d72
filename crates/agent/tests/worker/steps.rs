//! Steps and their events.

use expect_test::{Expect, expect};
use model::scripted::{Reply, Scripted};
use protocol::{
    memory::{MemoryType, WriteMemory},
    message::Usage,
    run::{CreateRun, RunStatus},
};
use serde_json::json;

use crate::World;

async fn check(replies: Vec<Reply>, input: &str, want: Expect) {
    let world = World::new(Scripted::in_order(replies)).await;
    want.assert_eq(&world.story(&CreateRun::new(input)).await);
}

#[tokio::test]
async fn an_answer_takes_one_step() {
    check(
        vec![Reply::text("你好！").with_usage(Usage::new(10, 2, 0))],
        "你好",
        expect![[r#"
            started "你好" scripted/script
            step 1
            recalled "你好" []
            model "你好！" [] Stop tokens 12 attempts 1
            step 1 completed FinalAnswer
            completed "你好！" tokens 12
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_fact_is_remembered_and_found() {
    let usage = Usage::new(1, 1, 0);
    check(
        vec![
            Reply::call("memory_write", json!({"type": "archival", "text": "小李喜欢绿茶"}))
                .with_usage(usage),
            Reply::text("记住了。").with_usage(usage),
        ],
        "记住：小李喜欢绿茶",
        expect![[r##"
            started "记住：小李喜欢绿茶" scripted/script
            step 1
            recalled "记住：小李喜欢绿茶" []
            model "" ["memory_write {\"text\":\"小李喜欢绿茶\",\"type\":\"archival\"}"] ToolCalls tokens 2 attempts 1
            call memory_write {"text":"小李喜欢绿茶","type":"archival"} Idempotent
            result memory_write Ok {"id":"#1"}
            step 1 completed ToolCalls
            step 2
            recalled "记住：小李喜欢绿茶" ["小李喜欢绿茶"]
            model "记住了。" [] Stop tokens 2 attempts 1
            step 2 completed FinalAnswer
            completed "记住了。" tokens 4
        "##]],
    )
    .await;
}

#[tokio::test]
async fn several_calls_of_a_step_are_made_in_order() {
    let usage = Usage::new(1, 1, 0);
    check(
        vec![
            Reply::call("read_file", json!({"path": "absent.md"}))
                .and_call("memory_get", json!({"id": "mem_nonsense"}))
                .with_usage(usage),
            Reply::text("Neither is there.").with_usage(usage),
        ],
        "look twice",
        expect![[r#"
            started "look twice" scripted/script
            step 1
            recalled "look twice" []
            model "" ["read_file {\"path\":\"absent.md\"}", "memory_get {\"id\":\"mem_nonsense\"}"] ToolCalls tokens 2 attempts 1
            call read_file {"path":"absent.md"} ReadOnly
            result read_file Error "there is no file `absent.md` in the workspace"
            call memory_get {"id":"mem_nonsense"} ReadOnly
            result memory_get Error "there is no memory `mem_nonsense`"
            step 1 completed ToolCalls
            step 2
            recalled "look twice" []
            model "Neither is there." [] Stop tokens 2 attempts 1
            step 2 completed FinalAnswer
            completed "Neither is there." tokens 4
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_run_row_says_what_its_events_say() {
    let world = World::new(Scripted::in_order([
        Reply::call("export_trace", json!({})).with_usage(Usage::new(5, 3, 1)),
        Reply::text("done").with_usage(Usage::new(7, 2, 0)),
    ]))
    .await;
    let worker = world.worker();
    let run = world.ended(world.create(&CreateRun::new("x")).await).await;
    worker.stop(crate::PATIENCE).await;
    assert_eq!((run.status, run.output.as_deref()), (RunStatus::Completed, Some("done")));
    assert_eq!((run.step_count, run.tool_call_count), (2, 1));
    assert_eq!(run.usage, Usage::new(12, 5, 1));
    assert_eq!(run.event_count, world.events(run.run_id).await.len() as u64);
    assert_eq!(run.model.as_deref(), Some("scripted/script"));
}

#[tokio::test]
async fn core_memory_is_always_in_the_prompt_and_a_strangers_never() {
    let world = World::new(Scripted::in_order([Reply::text("ok")])).await;
    let core = WriteMemory::new(MemoryType::Core, "用户住在杭州");
    world.memory.write(&world.scope, &core, None).await.unwrap();
    let foreign = WriteMemory::new(MemoryType::Core, "SECRET of another user about x");
    world.memory.write(&crate::scope("user_b"), &foreign, None).await.unwrap();
    world.story(&CreateRun::new("x")).await;
    let system = &world.script.requests()[0].system;
    assert!(system.contains("用户住在杭州"), "{system}");
    assert!(!system.contains("SECRET"), "{system}");
}

#[tokio::test]
async fn an_agent_that_recalls_nothing_keeps_its_core_memory() {
    let mut world = World::new(Scripted::in_order([Reply::text("ok")])).await;
    world.agent.recall_top_k = 0;
    for (kind, text) in [(MemoryType::Core, "用户住在杭州"), (MemoryType::Archival, "杭州有西湖")]
    {
        world.memory.write(&world.scope, &WriteMemory::new(kind, text), None).await.unwrap();
    }
    let story = world.story(&CreateRun::new("杭州")).await;
    let system = &world.script.requests()[0].system;
    assert!(system.contains("用户住在杭州") && !system.contains("西湖"), "{system}");
    assert!(!story.contains("run.warning"), "{story}");
}
