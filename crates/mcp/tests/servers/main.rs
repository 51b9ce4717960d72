//! Real processes: the Python skill, and servers that misbehave. Whatever they do, we go on, every
//! wait is bounded, and nothing of them is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use std::{collections::BTreeMap, pin::pin, time::Duration};

use expect_test::expect;
use harness::{Hostile, context, environment, launcher, python};
use mcp::{
    call::CallError,
    config::ServerConfig,
    servers::Servers,
    status::ServerState::{Restarting, Running, Stopped, Suspended},
};
use protocol::tool::Effect;
use serde_json::json;
use tokio::runtime::Runtime;

fn textkit() -> (String, ServerConfig) {
    let mut config = ServerConfig::new(python(), ["-m", "textkit"]);
    let read_only = serde_json::from_value(json!({"effect": "read_only"})).unwrap();
    config.tools.insert("date_add".into(), read_only);
    ("textkit".into(), config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_skill_answers() {
    let servers = Servers::start(BTreeMap::from([textkit()]), launcher(), environment()).await;
    let tools = servers.tools();
    let seen: Vec<_> = tools.iter().map(|tool| (tool.name.as_str(), tool.effect)).collect();
    assert_eq!(
        seen,
        [
            ("textkit__date_add", Effect::ReadOnly),
            ("textkit__date_difference", Effect::AtMostOnce),
            ("textkit__extract_dates", Effect::AtMostOnce),
            ("textkit__text_stats", Effect::AtMostOnce),
        ]
    );
    assert!(tools.iter().all(|tool| tool.input_schema["type"] == "object"));

    let added = servers
        .call("textkit__date_add", &json!({"date": "2026年3月5日", "days": 1}), context())
        .await
        .unwrap();
    assert!(!added.is_error && !added.truncated);
    assert_eq!(
        (&added.content["date"], &added.content["weekday_zh"]),
        (&json!("2026-03-06"), &json!("星期五"))
    );

    let refused =
        servers.call("textkit__date_add", &json!({"date": "soon"}), context()).await.unwrap();
    assert!(refused.is_error);
    expect!["\"Error executing tool date_add: `soon` is not a date with a year; write `2026-03-05`, `2026年3月5日` or `March 5, 2026`\""]
        .assert_eq(&refused.content.to_string());

    let calls = (0..20).map(|days| {
        let (servers, args) = (&servers, json!({"date": "2026-01-01", "days": days}));
        async move { servers.call("textkit__date_add", &args, context()).await.unwrap() }
    });
    for (days, result) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(result.content["date"], format!("2026-01-{:02}", days + 1));
    }
    servers.stop().await;
    assert_eq!(servers.status()[0].state, Stopped);
    assert_eq!(servers.tools(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broken_server_does_not_disturb_the_others() {
    let absent = ServerConfig::new("/no/such/program", [""; 0]);
    let named = ServerConfig::new(python(), ["-m", "textkit"]);
    let configs = BTreeMap::from([textkit(), ("absent".into(), absent), ("a__b".into(), named)]);
    let servers = Servers::start(configs, launcher(), environment()).await;
    assert_eq!(servers.tools().len(), 4);
    let [misnamed, absent, textkit] = &servers.status()[..] else { panic!() };
    assert_eq!((misnamed.state, textkit.state), (Stopped, Running));
    assert!(matches!(absent.state, Restarting | Suspended));
    expect![
        "a server's name is of `A-Z a-z 0-9 _ -`, at most 64 of them, without `__` or a final `_`"
    ]
    .assert_eq(misnamed.last_error.as_ref().unwrap());
    expect!["cannot start `/no/such/program`: there is no such program"]
        .assert_eq(absent.last_error.as_ref().unwrap());
    for tool in ["textkit__nothing", "nobody__act", "memory_search", ""] {
        let error = servers.call(tool, &json!({}), context()).await.unwrap_err();
        assert_eq!(error, CallError::UnknownTool { tool: tool.into() });
    }
    servers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_answer_times_out_and_two_restart_the_server() {
    let hostile = Hostile::start("never_answers").await;
    for _ in 0..2 {
        let error = hostile.act_within(100).await.unwrap_err();
        assert_eq!(error, CallError::Timeout { after: Duration::from_millis(100) });
        assert!(error.outcome_is_unknown());
    }
    let status = hostile.until(|status| status.starts == 2 && status.state == Running).await;
    expect!["it left calls unanswered (exit status: 0)"].assert_eq(&status.last_error.unwrap());
    assert!(status.stderr_tail.starts_with("cancelled\n"));
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_is_cancelled_at_the_server_and_its_late_answer_ignored() {
    let hostile = Hostile::start("answers_late").await;
    let (args, context) = (json!({}), context());
    let cancel = context.cancel.clone();
    let error = {
        let mut call = pin!(hostile.servers.call("hostile__act", &args, context));
        assert!(futures::poll!(&mut call).is_pending());
        hostile.life.hears("called");
        cancel.cancel();
        call.await.unwrap_err()
    };
    assert_eq!(error, CallError::Cancelled);
    hostile.life.hears("cancelled");
    // Given up before it is sent: nothing is sent.
    let given_up = harness::context();
    given_up.cancel.cancel();
    let error = hostile.servers.call("hostile__act", &json!({}), given_up).await.unwrap_err();
    assert_eq!(error, CallError::Cancelled);
    assert_eq!(hostile.status().state, Running);
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_during_a_call_is_started_again() {
    let hostile = Hostile::start("exits_mid_call").await;
    let error = hostile.act().await.unwrap_err();
    assert_eq!(error, CallError::Lost { server: "hostile".into() });
    assert!(error.outcome_is_unknown());
    let status = hostile.until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().ends_with("(exit status: 7)"));
    assert_eq!((status.tools.len(), status.stderr_tail.as_str()), (1, "last words\n"));
    // A call during the pause waits for the next start.
    assert_eq!(hostile.act().await.unwrap_err(), CallError::Lost { server: "hostile".into() });
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_of_a_dying_server_arrives() {
    let hostile = Hostile::start("answers_and_exits").await;
    for start in 1..=3 {
        hostile.until(|status| status.starts == start && status.state == Running).await;
        assert_eq!(hostile.act().await.unwrap().content, "done");
    }
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_dying_is_suspended_and_its_tools_hidden() {
    let hostile = Hostile::start("exits_mid_call").await;
    for start in 1..=5 {
        hostile.until(|status| status.starts == start && status.state == Running).await;
        hostile.act().await.unwrap_err();
    }
    let status = hostile.until(|status| status.state == Suspended).await;
    assert_eq!(status.starts, 5);
    assert_eq!(hostile.servers.tools(), []);
    let error = hostile.act().await.unwrap_err();
    assert!(
        matches!(&error, CallError::Unavailable { reason, .. } if reason.contains("status: 7"))
    );
    assert!(!error.outcome_is_unknown());
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_starts_costs_only_its_tools() {
    let hostile = Hostile::start("dies_at_start").await;
    assert!(matches!(hostile.status().state, Restarting | Suspended));
    assert_eq!(hostile.servers.tools(), []);
    let error = hostile.status().last_error.unwrap();
    assert!(error.ends_with("; it said: Traceback: | no module named 'weather'"), "{error}");
    hostile.stop_and_see_it_gone().await;

    let hostile = Hostile::start_within(1000, "silent").await;
    let error = hostile.status().last_error.unwrap();
    assert!(error.starts_with("it did not list its tools within 1000 ms"), "{error}");
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_our_version_is_greeted_with_its_own() {
    let hostile = Hostile::start("old").await;
    let status = hostile.until(|status| status.state == Running).await;
    assert_eq!(status.starts, 2);
    assert!(status.last_error.unwrap().contains("Unsupported protocol version"));
    assert_eq!(hostile.act().await.unwrap().content, "acted");
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_number_of_a_result_keeps_its_digits() {
    let hostile = Hostile::start("counts_high").await;
    let content = hostile.act().await.unwrap().content;
    assert_eq!(content, json!({"id": "123456789012345678901234567890"}));
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_ends_the_server_not_us() {
    for (how, said) in [
        ("garbage", "it wrote more than 1000 lines that are not JSON"),
        ("huge_line", "it wrote a line of more than 4194304 bytes"),
    ] {
        let hostile = Hostile::start(how).await;
        assert_eq!(hostile.act().await.unwrap_err(), CallError::Lost { server: "hostile".into() });
        let status = hostile.until(|status| status.last_error.is_some()).await;
        assert!(status.last_error.as_ref().unwrap().contains(said), "{:?}", status.last_error);
        hostile.stop_and_see_it_gone().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_error_is_drained_and_its_end_kept() {
    let hostile = Hostile::start("stderr_flood").await;
    assert_eq!(hostile.act().await.unwrap().content, "acted");
    assert_eq!(hostile.status().stderr_tail.len(), 64 * 1024);
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_result_is_cut() {
    let hostile = Hostile::start("huge_result").await;
    let result = hostile.act().await.unwrap();
    assert!(result.truncated);
    assert!(result.content.to_string().len() <= 1024 * 1024);
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_answers_are_survived() {
    let hostile = Hostile::start("wrong_answers").await;
    assert_eq!(hostile.act().await.unwrap().content, "acted");
    hostile.stop_and_see_it_gone().await;

    let hostile = Hostile::start("half_characters").await;
    assert_eq!(hostile.act().await.unwrap().content, "a\u{fffd} b");
    hostile.stop_and_see_it_gone().await;

    let hostile = Hostile::start("unknown_content").await;
    let result = hostile.act().await.unwrap();
    assert_eq!(result.content, "kept\n[content of the unknown kind `hologram`, not shown]");
    hostile.stop_and_see_it_gone().await;

    let hostile = Hostile::start("chatters").await;
    assert_eq!(hostile.act().await.unwrap().content, "acted");
    hostile.stop_and_see_it_gone().await;

    let hostile = Hostile::start("refuses").await;
    let error = hostile.act().await.unwrap_err();
    assert_eq!(error, CallError::Refused { message: "no[31m way".into() });
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tools_are_left_out() {
    let hostile = Hostile::start("bad_schema").await;
    let status = hostile.status();
    assert_eq!(status.tools, ["hostile__bad_name_9c262781", "hostile__good"]);
    let left_out: Vec<_> =
        status.left_out.iter().map(|tool| format!("{}: {}", tool.name, tool.reason)).collect();
    expect![[r#"
        hostile__remote: its input schema refers to `https://evil.example/s.json`
        hostile__list: its input schema is not of type `object`
        hostile__bare: it has no input schema
        hostile__null: it has no input schema"#]]
    .assert_eq(&left_out.join("\n"));
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_tool_list_is_read_again() {
    let hostile = Hostile::start("changes_tools").await;
    hostile.act().await.unwrap();
    hostile.until(|status| status.tools == ["hostile__renamed"]).await;
    assert!(matches!(hostile.act().await, Err(CallError::UnknownTool { .. })));
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_sees_little_of_our_environment() {
    let hostile = Hostile::start("reads_environment").await;
    let result = hostile.act().await.unwrap();
    let seen: BTreeMap<String, String> =
        serde_json::from_str(result.content.as_str().unwrap()).unwrap();
    assert_eq!(seen.get("HOME").map(String::as_str), Some("/home/canary"));
    assert!(seen.contains_key("PATH") && seen.contains_key("ALIVE"));
    assert!(!seen.contains_key("OPENAI_API_KEY"), "{seen:?}");
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_call_id_goes_along() {
    let hostile = Hostile::start("shows_meta").await;
    let context = context();
    let id = context.call_id.to_string();
    let result = hostile.servers.call("hostile__act", &json!({}), context).await.unwrap();
    assert_eq!(result.content["openintern/call-id"], id);
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grandchild_does_not_survive_the_stop() {
    let hostile = Hostile::start("stubborn_grandchild").await;
    hostile.life.hears("grandchild");
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_does_not_survive_the_stop() {
    let hostile = Hostile::start("stubborn_daemon").await;
    hostile.life.hears("daemon");
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_does_not_survive_the_end_of_its_server() {
    let hostile = Hostile::start("stubborn_daemon").await;
    hostile.life.hears("daemon");
    let error = hostile.act().await.unwrap_err();
    assert_eq!(error, CallError::Lost { server: "hostile".into() });
    hostile.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_our_signs_does_not_survive_the_stop() {
    Hostile::start("stubborn").await.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_reads_nothing_does_not_survive_the_stop() {
    Hostile::start("deaf").await.stop_and_see_it_gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_survives_a_drop() {
    let Hostile { servers, life } = Hostile::start("stubborn_grandchild").await;
    life.hears("grandchild");
    drop(servers);
    life.gone();
}

#[test]
fn nothing_survives_the_end_of_the_runtime() {
    let runtime = Runtime::new().unwrap();
    let Hostile { servers, life } = runtime.block_on(async {
        let hostile = Hostile::start("stubborn_grandchild").await;
        hostile.life.hears("grandchild");
        hostile
    });
    drop(runtime);
    drop(servers);
    Runtime::new().unwrap().block_on(async { life.gone() });
}
