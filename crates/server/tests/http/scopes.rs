//! Whose data: where a scope may be named, and what a stranger sees.

use protocol::id::{MemoryId, RunId};
use serde_json::{Value, json};

use crate::served::{Served, answer, served};

#[tokio::test]
async fn a_scope_may_be_named_in_headers_query_or_body() {
    let served = served().await;
    let in_body = json!({"input": "a", "org_id": "o", "user_id": "u", "project_id": "p"});
    let run = answer(served.bare("POST", "/api/runs").json(&in_body)).await.expect(201);
    let path = format!("/api/runs/{}", run["run_id"].as_str().unwrap());
    let in_query = format!("{path}?org_id=o&user_id=u&project_id=p");
    answer(served.bare("GET", &in_query)).await.expect(200);
    let in_headers = served
        .bare("GET", &path)
        .header("x-org-id", "o")
        .header("X-User-Id", "u")
        .header("x-project-id", "p");
    answer(in_headers).await.expect(200);
    let mixed = format!("{path}?user_id=u&project_id=p&org_id=o");
    answer(served.bare("GET", &mixed).header("x-org-id", "o")).await.expect(200);
    let no_project = format!("{path}?org_id=o&user_id=u");
    answer(served.bare("GET", &no_project)).await.refused(404, "not_found");
    let cancel = served.bare("POST", &format!("{path}/cancel"));
    let body = json!({"org_id": "o", "user_id": "u", "project_id": "p"});
    answer(cancel.json(&body)).await.expect(200);
}

#[tokio::test]
async fn a_scope_that_is_missing_bad_or_in_dispute_is_refused() {
    let served = served().await;
    answer(served.bare("GET", "/api/runs")).await.refused(400, "scope_required");
    let only_org = served.bare("GET", "/api/runs").header("x-org-id", "o");
    answer(only_org).await.refused(400, "scope_required");
    answer(served.bare("GET", "/api/tools")).await.refused(400, "scope_required");

    for path in ["/api/runs?org_id=other", "/api/runs?user_id=other"] {
        served.get(path).await.refused(400, "scope_conflict");
    }
    let body = json!({"input": "a", "org_id": "other"});
    served.post("/api/runs", body).await.refused(400, "scope_conflict");
    let twice = served.ask("GET", "/api/runs").header("x-org-id", "other");
    answer(twice).await.refused(400, "scope_conflict");
    answer(served.ask("GET", "/api/runs").header("x-org-id", "org_a")).await.expect(200);
    let twice = "/api/runs?project_id=a&project_id=b";
    served.get(twice).await.refused(400, "scope_conflict");

    for value in ["", "a b", "a,b", "a/b", &"x".repeat(129), "组织"] {
        let request = served.ask("GET", "/api/runs").header("x-project-id", value);
        answer(request).await.names("x-project-id");
        answer(served.ask("GET", "/api/runs").query(&[("org_id", value)])).await.names("org_id");
        let body = json!({"input": "a", "user_id": value});
        served.post("/api/runs", body).await.names("/user_id");
    }
    served.post("/api/runs", json!({"input": "a", "org_id": 1})).await.names("/org_id");
    served.post("/api/runs", json!({"input": "a", "project_id": null})).await.expect(201);
}

/// Every path of one thing: what a stranger asks for, and an absent one.
fn paths(run: &str, memory: &str) -> Vec<(&'static str, String, Option<Value>)> {
    vec![
        ("GET", format!("/api/runs/{run}"), None),
        ("GET", format!("/api/runs/{run}/events"), None),
        ("GET", format!("/api/runs/{run}/stream"), None),
        ("POST", format!("/api/runs/{run}/cancel"), None),
        ("GET", format!("/api/memories/{memory}"), None),
        ("GET", format!("/api/memories/{memory}/versions"), None),
        ("PATCH", format!("/api/memories/{memory}"), Some(json!({"importance": 1}))),
        ("DELETE", format!("/api/memories/{memory}"), None),
    ]
}

async fn as_seen_by(served: &Served, stranger: &str, at: &(&str, String, Option<Value>)) -> String {
    let (method, path, body) = at;
    let mut request = served.bare(method, &format!("{path}?{stranger}"));
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = answer(request).await;
    let id = answer.header("x-request-id").to_owned();
    let mut headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    let seen = format!("{} {headers:?} {}", answer.status, answer.text).replace(&id, "");
    answer.refused(404, "not_found");
    seen
}

#[tokio::test]
async fn a_foreign_row_an_absent_one_and_an_impossible_one_are_the_same_bytes() {
    let served = served().await;
    let run = served.ended().await.to_string();
    let body = json!({"type": "archival", "text": "秘密"});
    let memory = served.post("/api/memories", body).await.expect(201);
    let ours = paths(&run, memory["id"].as_str().unwrap());
    let absent = paths(&RunId::generate().to_string(), &MemoryId::generate().to_string());
    let impossible = paths("run_%00", "mem_x%FF");
    for stranger in [
        "org_id=org_b&user_id=user_a",
        "org_id=org_a&user_id=user_b",
        "org_id=org_a&user_id=user_a&project_id=p",
    ] {
        for ((ours, absent), impossible) in ours.iter().zip(&absent).zip(&impossible) {
            let seen = as_seen_by(&served, stranger, ours).await;
            assert_eq!(seen, as_seen_by(&served, stranger, absent).await);
            assert_eq!(seen, as_seen_by(&served, stranger, impossible).await);
        }
        for list in ["runs", "sessions", "memories"] {
            let page = answer(served.bare("GET", &format!("/api/{list}?{stranger}"))).await;
            assert_eq!(page.expect(200)[list], json!([]), "{list}");
        }
        let search = served.bare("POST", &format!("/api/memories/search?{stranger}"));
        let found = answer(search.json(&json!({"query": "秘密"}))).await.expect(200);
        assert_eq!(found["hits"], json!([]));
    }
}
