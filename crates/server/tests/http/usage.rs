//! What operators see of their scope, and of nobody else's.

use protocol::message::Usage;
use serde_json::{Value, json};
use store::{
    journal::{Entry, Totals},
    nodes::NodeReport,
};

use crate::served::{answer, served};

#[tokio::test]
async fn usage_is_summed_by_time_and_what_is_asked_for() {
    let served = served().await;
    let nothing = json!({"rows": [], "is_cut": false});
    assert_eq!(served.get("/api/usage").await.expect(200), nothing);
    for project in ["", "p"] {
        let mut request = served.ask("POST", "/api/runs").json(&json!({"input": "a"}));
        if !project.is_empty() {
            request = request.header("x-project-id", project);
        }
        answer(request).await.expect(201);
        let mut work = served.work().await;
        let totals = Totals { usage: Usage::new(100, 10, 5), cost_usd: 0.25, ..Totals::default() };
        work.write(Entry {
            totals: Some(totals),
            model: Some("demo/default".into()),
            ..Entry::default()
        })
        .await;
        work.complete("done").await;
    }
    let report = served.get("/api/usage").await.expect(200);
    let created = served.get("/api/runs").await.expect(200)["runs"][0]["created_at"].clone();
    let created = created.as_str().unwrap().to_owned();
    let row = &report["rows"][0];
    let want = json!({
        "at": format!("{}T00:00:00.000Z", &created[..10]), "name": "demo/default", "runs": 1,
        "failed": 0, "input_tokens": 100, "output_tokens": 10, "reasoning_tokens": 0,
        "cached_tokens": 5, "cached_share": 0.05, "cost_usd": 0.25, "duration_p50_ms": row["duration_p50_ms"],
        "duration_p95_ms": row["duration_p95_ms"],
    });
    assert_eq!((row, &report["is_cut"]), (&want, &json!(false)));
    assert!(row["duration_p50_ms"].is_u64(), "{row}");
    let hour = served.get("/api/usage?per=hour&by=agent").await.expect(200);
    assert_eq!(hour["rows"][0]["at"], format!("{}:00:00.000Z", &created[..13]));
    assert_eq!(hour["rows"][0]["name"], "main");
    let before = served.get(&format!("/api/usage?until={created}")).await.expect(200);
    assert_eq!(before, nothing);
    let others = served.bare("GET", "/api/usage").header("x-org-id", "org_a");
    assert_eq!(answer(others.header("x-user-id", "user_b")).await.expect(200), nothing);

    let all = async |query: &str| -> Vec<(Value, Value)> {
        let path = format!("/api/usage/organisation?{query}");
        let report = answer(served.bare("GET", &path).header("x-org-id", "org_a")).await;
        let rows = report.expect(200)["rows"].as_array().unwrap().clone();
        rows.into_iter().map(|row| (row["name"].clone(), row["runs"].clone())).collect()
    };
    assert_eq!(all("").await, [(json!("user_a"), json!(2))]);
    assert_eq!(all("by=project").await, [(Value::Null, json!(1)), (json!("p"), json!(1))]);
    assert_eq!(all("by=model&per=hour").await, [(json!("demo/default"), json!(2))]);
    served.create("a run that no model has been asked for").await;
    assert_eq!(all("by=model").await, [(Value::Null, json!(1)), (json!("demo/default"), json!(2))]);
    let elsewhere = served.bare("GET", "/api/usage/organisation").header("x-org-id", "org_b");
    assert_eq!(answer(elsewhere).await.expect(200), nothing);

    for (query, field) in [
        ("per=week", "per"),
        ("by=user", "by"),
        ("since=2020-01-01T00:00:00Z", "since"),
        ("per=hour&since=2026-01-01T00:00:00Z&until=2026-03-01T00:00:00Z", "since"),
    ] {
        served.get(&format!("/api/usage?{query}")).await.names(field);
    }
}

#[tokio::test]
async fn nodes_are_listed_for_operators() {
    let served = served().await;
    assert_eq!(served.get("/api/nodes").await.expect(200), json!({"nodes": []}));
    let node = NodeReport {
        node_id: uuid::Uuid::now_v7(),
        version: "1.2.3".into(),
        concurrency: 8,
        running: 2,
        tools: Vec::new(),
        notes: Default::default(),
    };
    served.store.report_node(&node).await.unwrap();
    let nodes = served.get("/api/nodes").await.expect(200);
    let listed = &nodes["nodes"][0];
    assert_eq!(listed["node_id"], node.node_id.to_string());
    assert_eq!((&listed["is_alive"], &listed["concurrency"]), (&json!(true), &json!(8)));
    assert_eq!((&listed["running"], &listed["tool_count"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn the_queue_is_that_of_the_organisation() {
    let served = served().await;
    let empty = json!({"ready": 0, "in_line": 0, "running": 0, "oldest_wait_ms": null});
    assert_eq!(served.get("/api/queue").await.expect(200), empty);
    served.create("a").await;
    served.create("behind it").await;
    let queue = served.get("/api/queue").await.expect(200);
    assert_eq!((&queue["ready"], &queue["in_line"]), (&json!(1), &json!(1)));
    assert!(queue["oldest_wait_ms"].is_u64());
    let _work = served.work().await;
    let queue = served.get("/api/queue").await.expect(200);
    assert_eq!(queue, json!({"ready": 0, "in_line": 1, "running": 1, "oldest_wait_ms": null}));
    let others = served.bare("GET", "/api/queue").header("x-org-id", "org_b");
    let others = others.header("x-user-id", "user");
    assert_eq!(answer(others).await.expect(200), empty);
}
