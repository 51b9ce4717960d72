//! Runs and sessions: created once, listed by page, read, cancelled.

use protocol::id::RunId;
use serde_json::{Value, json};

use crate::served::{Served, answer, served};

#[tokio::test]
async fn a_run_is_created_worked_on_and_read() {
    let served = served().await;
    let body = json!({
        "input": "任务", "session_key": "s_one", "agent_id": "writer", "metadata": {"a": [1, null]},
        "limits": {"max_steps": 3}, "llm_config": {"provider": "demo", "temperature": 0.5},
    });
    let created = served.post("/api/runs", body).await.expect(201);
    let mut keys: Vec<_> = created.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["created_at", "run_id", "status"]);
    assert_eq!(created["status"], "pending");
    let created_at = created["created_at"].as_str().unwrap();
    assert!(created_at.ends_with('Z') && created_at.len() == 24, "{created_at}");

    let path = format!("/api/runs/{}", created["run_id"].as_str().unwrap());
    let run = served.get(&path).await.expect(200);
    assert_eq!(run["metadata"], json!({"a": [1, null]}));
    assert_eq!(run["agent_id"], "writer");
    for absent in ["output", "error", "started_at", "ended_at", "duration_ms", "model"] {
        assert_eq!(run[absent], Value::Null, "{absent}");
    }

    let mut work = served.work().await;
    work.start().await;
    work.complete("好了").await;
    let run = served.get(&path).await.expect(200);
    assert_eq!((&run["status"], &run["output"]), (&json!("completed"), &json!("好了")));
    assert_eq!(run["event_count"], 3);
    assert_eq!(run["usage"]["total_tokens"], 0);
}

#[tokio::test]
async fn a_bad_run_is_refused_by_field() {
    let served = served().await;
    let check = async |body: Value, field: &str| {
        served.post("/api/runs", body).await.names(field);
    };
    check(json!({}), "/input").await;
    check(json!({"input": ""}), "/input").await;
    check(json!({"input": "字".repeat(256 * 1024 + 1)}), "/input").await;
    check(json!({"input": "a", "agent_id": "nobody"}), "/agent_id").await;
    let model = json!({"provider": "nobody", "model": "m"});
    check(json!({"input": "a", "llm_config": model}), "/llm_config/model").await;
    check(json!({"input": "a", "session_key": "a\nb"}), "/session_key").await;
    check(json!({"input": "a", "colour": "red"}), "/colour").await;
    check(json!({"input": "a", "limits": {"max_steps": 0}}), "/limits/max_steps").await;
    check(json!({"input": "a", "limits": [1]}), "/limits").await;
    check(json!({"input": "a", "metadata": []}), "/metadata").await;
    let format = json!({"properties": {"a": {"$ref": "http://example.com/a"}}});
    let at = "/response_format/properties/a/$ref";
    check(json!({"input": "a", "response_format": format}), at).await;
    check(json!({"input": "a", "response_format": {"type": "text"}}), "/response_format/type")
        .await;
    assert_eq!(served.get("/api/runs").await.expect(200)["runs"], json!([]));
    served.post("/api/runs", json!({"input": "字".repeat(256 * 1024)})).await.expect(201);
}

#[tokio::test]
async fn an_idempotency_key_creates_one_run() {
    let served = served().await;
    let create = |key: &str, body: &str| {
        served
            .ask("POST", "/api/runs")
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    let first = answer(create("k1", r#"{"input":"a","metadata":{"x":1,"y":2}}"#)).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let first = first.expect(201);
    let same = r#"{"metadata":{"y":2,"x":1},"input":"a","org_id":"org_a"}"#;
    let again = answer(create("k1", same)).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(201), first);
    answer(create("k1", r#"{"input":"b"}"#)).await.refused(422, "idempotency_mismatch");
    let other = create("k1", r#"{"input":"b"}"#).header("x-project-id", "p");
    assert_ne!(answer(other).await.expect(201)["run_id"], first["run_id"]);

    for key in ["", "a b", "é", &"k".repeat(256)] {
        answer(create(key, r#"{"input":"a"}"#)).await.names("idempotency-key");
    }
    let twice = create("k2", r#"{"input":"a"}"#).header("idempotency-key", "k3");
    answer(twice).await.names("idempotency-key");
    answer(create(&"k".repeat(255), r#"{"input":"a"}"#)).await.expect(201);
}

#[tokio::test]
async fn concurrent_repetitions_create_one_run() {
    let served = served().await;
    let create = || async {
        let body = json!({"input": "a"});
        let request = served.ask("POST", "/api/runs").header("idempotency-key", "k").json(&body);
        answer(request).await.expect(201)["run_id"].clone()
    };
    let ids = futures::future::join_all((0..20).map(|_| create())).await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(served.get("/api/runs").await.expect(200)["runs"].as_array().unwrap().len(), 1);
}

async fn all_pages(served: &Served, path: &str, list: &str, id: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = served.get(&format!("{path}limit=2{cursor}")).await.expect(200);
        let rows = page[list].as_array().unwrap();
        pages.push(rows.iter().map(|row| row[id].as_str().unwrap().to_owned()).collect());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn lists_page_by_cursor_and_filter() {
    let served = served().await;
    let mut ids = Vec::new();
    for (session, agent) in [("s_a", "main"), ("s_b", "main"), ("s_a", "writer"), ("s_c", "main")] {
        let body = json!({"input": "x", "session_key": session, "agent_id": agent});
        let run = served.post("/api/runs", body).await.expect(201);
        ids.push(run["run_id"].as_str().unwrap().to_owned());
    }
    let [a, b, c, d] = &ids[..] else { panic!() };
    let pages = |path: &'static str| all_pages(&served, path, "runs", "run_id");
    let rows = |pages: &[&[&String]]| -> Vec<Vec<String>> {
        pages.iter().map(|page| page.iter().map(|id| (*id).clone()).collect()).collect()
    };
    assert_eq!(pages("/api/runs?").await, rows(&[&[d, c], &[b, a]]));
    assert_eq!(pages("/api/runs?session_key=s_a&").await, rows(&[&[c, a]]));
    assert_eq!(pages("/api/runs?agent_id=main&").await, rows(&[&[d, b], &[a]]));
    assert_eq!(pages("/api/runs?status=completed&").await, rows(&[&[]]));
    assert_eq!(pages("/api/sessions/s_a/runs?").await, rows(&[&[c, a]]));
    assert_eq!(pages("/api/sessions/s_none/runs?").await, rows(&[&[]]));
    assert_eq!(
        all_pages(&served, "/api/sessions?", "sessions", "session_key").await,
        [vec!["s_c", "s_a"], vec!["s_b"]]
    );
    let session = &served.get("/api/sessions?limit=1").await.expect(200)["sessions"][0];
    assert_eq!((&session["run_count"], &session["last_run_id"]), (&json!(1), &json!(d)));
}

#[tokio::test]
async fn bad_query_parameters_are_refused() {
    let served = served().await;
    let run_id = served.create("a").await;
    let check = async |path: String, field: &str| served.get(&path).await.names(field);
    for list in [
        "/api/runs",
        "/api/sessions",
        "/api/sessions/s/runs",
        "/api/tools",
        "/api/agents",
        "/api/memories",
        "/api/memories/export",
    ] {
        for limit in ["0", "501", "abc", "", "-1", "1.5", "+1", "99999999999999999999"] {
            check(format!("{list}?limit={}", limit.replace('+', "%2B")), "limit").await;
        }
        check(format!("{list}?limit=1&limit=2"), "limit").await;
        check(format!("{list}?cursor=%00"), "cursor").await;
        served.get(&format!("{list}?limit=500&limit=500")).await.expect(200);
        check(format!("{list}?colour=red"), "colour").await;
    }
    let events = format!("/api/runs/{run_id}/events");
    for cursor in ["abc", "-1", "", "1.5", "9223372036854775808"] {
        check(format!("{events}?cursor={cursor}"), "cursor").await;
    }
    check(format!("{events}?type=llm.delta"), "type").await;
    check("/api/runs?status=done".into(), "status").await;
    check("/api/runs?agent_id=a%20b".into(), "agent_id").await;
    check("/api/runs?session_key=".into(), "session_key").await;
    check("/api/runs?cursor=run_1".into(), "cursor").await;
    let many = "a=1&".repeat(81);
    check(format!("/api/runs?{many}"), "query").await;
}

#[tokio::test]
async fn events_are_read_by_page_and_type() {
    let served = served().await;
    let run_id = served.create("a").await;
    let path = format!("/api/runs/{run_id}/events");
    let empty = served.get(&path).await.expect(200);
    assert_eq!(empty, json!({"events": [], "total": 0, "next_cursor": null}));

    let mut work = served.work().await;
    work.start().await;
    work.warn("一").await;
    work.complete("好").await;
    let page = served.get(&format!("{path}?limit=2")).await.expect(200);
    assert_eq!((&page["total"], &page["next_cursor"]), (&json!(2), &json!("2")));
    let event = &page["events"][1];
    assert_eq!(event["payload"], json!({"code": "test", "message": "一"}));
    assert_eq!((&event["v"], &event["seq"]), (&json!(1), &json!(2)));
    assert_eq!(event["redaction"], json!({"contains_secrets": false}));
    let page = served.get(&format!("{path}?limit=2&cursor=2")).await.expect(200);
    assert_eq!((&page["total"], &page["next_cursor"]), (&json!(2), &Value::Null));
    let page = served.get(&format!("{path}?type=run.completed,run.warning")).await.expect(200);
    let types: Vec<_> = page["events"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
    assert_eq!(types, ["run.warning", "run.completed"]);
    let beyond = served.get(&format!("{path}?cursor=99")).await.expect(400);
    assert_eq!(beyond["error"]["details"][0]["field"], "cursor");
}

#[tokio::test]
async fn a_run_is_cancelled_at_once_or_soon_or_not_at_all() {
    let served = served().await;
    let pending = served.create("a").await;
    let path = format!("/api/runs/{pending}/cancel");
    let cancelled = answer(served.ask("POST", &path)).await.expect(200);
    assert_eq!(
        cancelled,
        json!({"run_id": pending, "status": "cancelled", "cancel_requested": true})
    );
    answer(served.ask("POST", &path)).await.refused(409, "run_already_finished");
    let events = served.get(&format!("/api/runs/{pending}/events")).await.expect(200);
    assert_eq!(events["events"][0]["payload"]["by"], "user_a");

    let running = served.create("b").await;
    let mut work = served.work().await;
    work.start().await;
    let path = format!("/api/runs/{running}/cancel");
    assert_eq!(served.post(&path, json!({})).await.expect(200)["status"], "running");
    assert_eq!(served.post(&path, json!({})).await.expect(200)["status"], "running");
    served.post(&path, json!({"colour": 1})).await.names("/colour");
    let absent = RunId::generate();
    served.post(&format!("/api/runs/{absent}/cancel"), json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn runs_are_listed_by_what_is_asked_for_and_summed_up() {
    let served = served().await;
    let mut ids = Vec::new();
    for (input, session) in
        [("Plan the LAUNCH", "s_1"), ("总结今天的工作", "s_2"), ("launch it", "s_1")]
    {
        let body = json!({"input": input, "session_key": session});
        ids.push(served.post("/api/runs", body).await.expect(201)["run_id"].clone());
    }
    let mut work = served.work().await;
    work.start().await;
    work.complete("done").await;
    let first = served.get(&format!("/api/runs/{}", ids[0].as_str().unwrap())).await.expect(200);
    assert_eq!(first["status"], "completed");
    let listed = async |query: &str| -> Vec<Value> {
        let page = served.get(&format!("/api/runs?{query}")).await.expect(200);
        let runs = page["runs"].as_array().unwrap().iter().map(|run| run["run_id"].clone());
        runs.rev().collect()
    };
    let (a, b, c) = (ids[0].clone(), ids[1].clone(), ids[2].clone());
    let second = served.get(&format!("/api/runs/{}", b.as_str().unwrap())).await.expect(200);
    let time = second["created_at"].as_str().unwrap().to_owned();
    for (query, want) in [
        ("", vec![a.clone(), b.clone(), c.clone()]),
        ("q=launch", vec![a.clone(), c.clone()]),
        ("q=%E4%BB%8A%E5%A4%A9", vec![b.clone()]),
        ("q=%25", vec![]),
        ("status=pending", vec![b.clone(), c.clone()]),
        ("status=pending,completed&session_key=s_1", vec![a.clone(), c.clone()]),
        ("min_duration_ms=0", vec![a.clone()]),
        ("max_duration_ms=0&min_duration_ms=1", vec![]),
        ("max_cost_usd=0", vec![a.clone(), b.clone(), c.clone()]),
        ("min_cost_usd=0.5", vec![]),
        (&format!("since={time}"), vec![b.clone(), c.clone()]),
        (&format!("until={time}"), vec![a.clone()]),
        (&format!("parent_run_id={}", a.as_str().unwrap()), vec![]),
    ] {
        assert_eq!(listed(query).await, want, "{query}");
    }
    let sums = served.get("/api/runs/summary?q=launch").await.expect(200);
    assert_eq!(sums["runs"], 2);
    let by_status = json!([{"status": "completed", "runs": 1}, {"status": "pending", "runs": 1}]);
    assert_eq!(sums["by_status"], by_status);
    assert!(sums["duration_p50_ms"].is_u64() && sums["since"].is_null(), "{sums}");
    let none = served.get("/api/runs/summary?q=nothing").await.expect(200);
    assert_eq!((&none["runs"], &none["by_status"]), (&json!(0), &json!([])));
    assert_eq!(none["duration_p95_ms"], Value::Null);
    for (query, field) in [
        ("status=done", "status"),
        ("status=", "status"),
        ("q=", "q"),
        (&format!("q={}", "x".repeat(257)), "q"),
        ("since=yesterday", "since"),
        ("min_cost_usd=-1", "min_cost_usd"),
        ("max_cost_usd=NaN", "max_cost_usd"),
        ("min_duration_ms=1.5", "min_duration_ms"),
        ("parent_run_id=x", "parent_run_id"),
    ] {
        served.get(&format!("/api/runs?{query}")).await.names(field);
        served.get(&format!("/api/runs/summary?{query}")).await.names(field);
    }
}
