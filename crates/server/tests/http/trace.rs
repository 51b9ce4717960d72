//! The trace of a run and its spans: which there are, and what they took and gave.

use protocol::{
    event::{Fact, StepResult},
    id::{CallId, RunId, SpanId},
    message::{FinishReason, Usage},
    tool::{Effect, Outcome},
};
use serde_json::{Value, json};
use store::journal::{Entry, NewEvent};

use crate::served::{Served, Work, answer, served, warning};

/// What the tool answers: characters of three bytes.
const RESULT: &str = "一二三四五六七八九十";

fn on(run_id: RunId, step: u32, part: &str, parent: &str, fact: Fact) -> NewEvent {
    NewEvent {
        fact,
        step: (step > 0).then_some(step),
        span_id: SpanId::derive(run_id, part),
        parent_span_id: (!parent.is_empty()).then(|| SpanId::derive(run_id, parent)),
        contains_secrets: false,
    }
}

/// A step of a run of ours, with a call of a model and one of a tool.
async fn take_step(work: &mut Work, run_id: RunId, step: u32) {
    let (name, model) = (format!("step:{step}"), format!("step:{step}:model"));
    let call = CallId::derive(run_id, step, 0, "lookup", "{}");
    let called = Fact::LlmCalled {
        provider: "demo".into(),
        model: "default".into(),
        content: format!("Looking, step {step}."),
        tool_calls: Vec::new(),
        finish_reason: FinishReason::ToolCalls,
        usage: Usage::new(7, 3, 0),
        cost_usd: 0.25,
        time_to_first_token_ms: 1,
        duration_ms: 2,
        attempts: 1,
    };
    let tool = Fact::ToolCalled {
        tool_call_id: call,
        tool: "lookup".into(),
        args: json!({"about": "numbers"}),
        effect: Effect::ReadOnly,
    };
    let result = Fact::ToolResult {
        tool_call_id: call,
        tool: "lookup".into(),
        result: RESULT.into(),
        is_error: step == 2,
        outcome: if step == 2 { Outcome::Error } else { Outcome::Ok },
        truncated: false,
        duration_ms: 1,
    };
    let ended = Fact::StepCompleted { step, result_type: StepResult::ToolCalls, duration_ms: 3 };
    let events = vec![
        on(run_id, step, &name, "run", Fact::StepStarted { step }),
        on(run_id, step, &model, &name, called),
        on(run_id, step, &call.to_string(), &name, tool),
        on(run_id, step, &call.to_string(), &name, result),
        on(run_id, step, &name, "run", ended),
    ];
    work.write(Entry { events, ..Entry::default() }).await;
}

/// A run of ours that goes on, with so many steps.
async fn run_with_steps(served: &Served, steps: u32) -> (RunId, Work) {
    let run_id = served.create("任务").await;
    let mut work = served.work().await;
    work.start().await;
    for step in 1..=steps {
        take_step(&mut work, run_id, step).await;
    }
    (run_id, work)
}

fn names(page: &Value) -> Vec<&str> {
    page["spans"].as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_trace_has_the_spans_of_a_run_and_a_span_what_it_took_and_gave() {
    let served = served().await;
    let (run_id, mut work) = run_with_steps(&served, 2).await;
    work.events(vec![warning("小心")]).await;
    let path = format!("/api/runs/{run_id}/trace");
    let page = served.get(&path).await.expect(200);
    assert_eq!((&page["status"], &page["last_seq"]), (&json!("running"), &json!(12)));
    assert_eq!(page["next_cursor"], Value::Null);
    let one_step = ["demo/default", "lookup"];
    let want = [&["main", "step_0001"][..], &one_step, &["step_0002"], &one_step, &["test"]];
    assert_eq!(names(&page), want.concat());
    let spans = page["spans"].as_array().unwrap();
    let of = |name: &str| spans.iter().rfind(|span| span["name"] == name).unwrap();
    assert_eq!(of("main")["ended_at"], Value::Null);
    assert_eq!(of("step_0002")["parent_span_id"], of("main")["span_id"]);
    assert_eq!(of("lookup")["parent_span_id"], of("step_0002")["span_id"]);
    assert_eq!((&of("lookup")["status"], &spans[3]["status"]), (&json!("error"), &json!("ok")));
    assert_eq!((&of("lookup")["first_seq"], &of("lookup")["last_seq"]), (&json!(9), &json!(10)));
    assert_eq!(of("demo/default")["usage"]["total_tokens"], 10);
    assert!(!page.to_string().contains("Looking"), "a trace says nothing that was said");

    let span = async |name: &str, query: &str| {
        let id = of(name)["span_id"].as_str().unwrap();
        served.get(&format!("/api/runs/{run_id}/spans/{id}{query}")).await.expect(200)
    };
    let tool = span("lookup", "").await;
    assert_eq!(tool["events"], json!([9, 10]));
    assert_eq!(tool["input"]["is_json"], true);
    let args: Value = serde_json::from_str(tool["input"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(args, json!({"about": "numbers"}));
    let whole =
        json!({"is_json": false, "size": 30, "offset": 0, "truncated": false, "text": RESULT});
    assert_eq!(tool["output"], whole);
    assert_eq!(tool["facts"]["outcome"], "error");
    assert_eq!(span("demo/default", "").await["output"]["text"], "Looking, step 2.");
    assert_eq!(span("test", "").await["output"]["text"], "小心");
    let run = span("main", "").await;
    assert_eq!((&run["input"]["text"], &run["output"]), (&json!("任务"), &Value::Null));

    // Ranges are of whole characters, and put together they are the whole.
    let mut text = String::new();
    while text.len() < 30 {
        let part = &span("lookup", &format!("?offset={}&limit=7", text.len())).await["output"];
        assert_eq!((&part["truncated"], &part["size"]), (&json!(true), &json!(30)));
        assert_eq!(part["offset"], text.len());
        text.push_str(part["text"].as_str().unwrap());
    }
    assert_eq!(text, RESULT);
    let inside = &span("lookup", "?offset=1&limit=8").await["output"];
    assert_eq!((&inside["offset"], &inside["text"]), (&json!(3), &json!("二三")));
    let beyond = &span("lookup", "?offset=99").await["output"];
    assert_eq!((&beyond["offset"], &beyond["text"]), (&json!(30), &json!("")));
}

#[tokio::test]
async fn a_trace_is_read_by_whole_steps_and_refuses_what_is_no_page() {
    let served = served().await;
    let (run_id, _work) = run_with_steps(&served, 5).await;
    let path = format!("/api/runs/{run_id}/trace");
    let whole = served.get(&path).await.expect(200);
    let (mut spans, mut cursor, mut pages) = (Vec::new(), "0".to_owned(), 0);
    loop {
        let page = served.get(&format!("{path}?limit=6&cursor={cursor}")).await.expect(200);
        spans.extend(page["spans"].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(pages, 3);
    let ids =
        |spans: &[Value]| spans.iter().map(|span| span["span_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&spans), ids(whole["spans"].as_array().unwrap()));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=5001", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=27", "cursor"),
    ] {
        served.get(&format!("{path}?{query}")).await.names(field);
    }
    let spans = format!("/api/runs/{run_id}/spans");
    for query in ["limit=0", "limit=1048577", "offset=-1", "offset=2147483647"] {
        let id = SpanId::derive(run_id, "run");
        let field = query.split('=').next().unwrap();
        served.get(&format!("{spans}/{id}?{query}")).await.names(field);
    }
    // The event of that number has a span of its own, is absent, or the name is none.
    for id in ["0000000000000002", "00000000000000ff", "1", "00000000000000FF", "ffffffffffffffff"]
    {
        served.get(&format!("{spans}/{id}")).await.refused(404, "not_found");
    }
    let waiting = served.create("x").await;
    let page = served.get(&format!("/api/runs/{waiting}/trace")).await.expect(200);
    assert_eq!((&page["spans"], &page["last_seq"]), (&json!([]), &json!(0)));
    let cancel = format!("/api/runs/{waiting}/cancel");
    answer(served.ask("POST", &cancel)).await.expect(200);
    let page = served.get(&format!("/api/runs/{waiting}/trace")).await.expect(200);
    assert_eq!((names(&page), &page["spans"][0]["status"]), (vec!["main"], &json!("cancelled")));
}
