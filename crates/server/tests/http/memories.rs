//! Memories over HTTP. How well they are found is tested where they are searched.

use serde_json::json;

use crate::served::{answer, served};

#[tokio::test]
async fn a_memory_is_written_found_edited_and_forgotten() {
    let served = served().await;
    let body = json!({
        "type": "archival", "text": "数据库密码每季度更换一次", "metadata": {"source": "手册"},
        "importance": 0.9, "group_key": "doc", "position": 3, "occurred_at": "2026-05-04",
    });
    let id =
        served.post("/api/memories", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/memories/{id}");
    let memory = served.get(&path).await.expect(200);
    assert_eq!(memory["text"], "数据库密码每季度更换一次");
    assert_eq!(
        (&memory["type"], &memory["occurred_at"], &memory["visibility"]),
        (&json!("archival"), &json!("2026-05-04"), &json!("scope"))
    );

    let found = served.post("/api/memories/search", json!({"query": "密码"})).await.expect(200);
    assert_eq!(found["hits"][0]["id"], json!(id));
    let search =
        json!({"query": "密码", "top_k": 1, "filters": {"type": ["core"]}, "explain": true});
    assert_eq!(served.post("/api/memories/search", search).await.expect(200)["hits"], json!([]));

    let edit = served.ask("PATCH", &path).json(&json!({"text": "密码每月更换"}));
    assert_eq!(answer(edit).await.expect(200)["text"], "密码每月更换");
    let page = served.get("/api/memories?type=archival&group_key=doc").await.expect(200);
    assert_eq!(page["memories"][0]["snippet"], "密码每月更换");
    let share = served.ask("PATCH", &path).json(&json!({"visibility": "org"}));
    assert_eq!(answer(share).await.expect(200)["visibility"], "org");
    let page = served.get("/api/memories").await.expect(200);
    assert_eq!(page["memories"][0]["visibility"], "org");
    assert_eq!(served.get("/api/memories?type=core").await.expect(200)["memories"], json!([]));

    let deleted = answer(served.ask("DELETE", &path)).await;
    assert_eq!((deleted.status, &*deleted.text), (204, ""));
    served.get(&path).await.refused(404, "not_found");
    answer(served.ask("DELETE", &path)).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_no_group_can_be_called_is_refused_wherever_it_is_said() {
    let served = served().await;
    for (name, status) in [(String::new(), 400), ("组".repeat(256), 200), ("组".repeat(257), 400)]
    {
        let list = answer(served.ask("GET", "/api/memories").query(&[("group_key", &name)])).await;
        assert_eq!(list.status, status, "{}", list.text);
        let search = json!({"query": "a", "filters": {"group_key": name}});
        let found = served.post("/api/memories/search", search).await;
        assert_eq!(found.status, status, "{}", found.text);
    }
}

#[tokio::test]
async fn many_memories_are_written_together_and_listed_by_page() {
    let served = served().await;
    let memories: Vec<_> =
        (0..3).map(|n| json!({"type": "episodic", "text": format!("第 {n} 条")})).collect();
    let written = served.post("/api/memories/bulk", json!({"memories": memories})).await;
    let ids = written.expect(201)["ids"].as_array().unwrap().clone();
    assert_eq!(ids.len(), 3);
    let first = served.get("/api/memories?limit=2").await.expect(200);
    let next = first["next_cursor"].as_str().unwrap();
    let second =
        answer(served.ask("GET", "/api/memories").query(&[("limit", "2"), ("cursor", next)]));
    let second = second.await.expect(200);
    assert_eq!(second["next_cursor"], json!(null));
    let mut listed: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|page| page["memories"].as_array().unwrap())
        .map(|memory| memory["id"].clone())
        .collect();
    listed.sort_by_key(ToString::to_string);
    let mut ids = ids;
    ids.sort_by_key(ToString::to_string);
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn bad_memories_are_refused_by_field() {
    let served = served().await;
    let check = async |path: &str, body: serde_json::Value, field: &str| {
        served.post(path, body).await.names(field);
    };
    let write = "/api/memories";
    check(write, json!({"type": "archival"}), "/text").await;
    check(write, json!({"type": "working", "text": "a"}), "/type").await;
    check(write, json!({"type": "core", "text": " "}), "/text").await;
    check(write, json!({"type": "core", "text": "a", "importance": 2}), "/importance").await;
    check(write, json!({"type": "core", "text": "a", "occurred_at": "gestern"}), "/occurred_at")
        .await;
    let bulk = "/api/memories/bulk";
    check(bulk, json!({"memories": []}), "/memories").await;
    let second_is_bad = json!([{"type": "core", "text": "a"}, {"type": "core", "text": ""}]);
    check(bulk, json!({"memories": second_is_bad}), "/memories/1/text").await;
    check(write, json!({"type": "core", "text": "a", "visibility": "world"}), "/visibility").await;
    let search = "/api/memories/search";
    check(search, json!({"query": ""}), "/query").await;
    check(search, json!({"query": "a", "top_k": 51}), "/top_k").await;
    check(search, json!({"query": "a", "filters": {"type": ["x"]}}), "/filters/type/0").await;
    assert_eq!(served.get(write).await.expect(200)["memories"], json!([]));
}
