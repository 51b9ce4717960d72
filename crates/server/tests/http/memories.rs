//! Memories over HTTP. How well they are found is tested where they are searched.

use serde_json::{Value, json};
use server::auth::authenticator::Authenticator;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    identity::key_of,
    served::{Served, answer, served, served_to},
};

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
async fn memories_are_exported_whole_and_oldest_first() {
    let served = served().await;
    let texts: Vec<_> = (0..14).map(|n| format!("{n} {}", "长".repeat(120 * 1024))).collect();
    for text in &texts {
        let note =
            json!({"type": "archival", "text": text, "group_key": "g", "metadata": {"a": 1}});
        served.post("/api/memories", note).await.expect(201);
    }
    served.post("/api/memories", json!({"type": "core", "text": "small"})).await.expect(201);
    let (mut exported, mut pages, mut next) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/api/memories/export?group_key=g{next}");
        let page = served.get(&path).await.expect(200);
        exported.extend(page["memories"].as_array().unwrap().clone());
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    let kept: Vec<_> = exported.iter().map(|memory| memory["text"].as_str().unwrap()).collect();
    assert_eq!(kept, texts);
    assert!((2..14).contains(&pages), "{pages} pages for 5 MiB");
    let id = exported[3]["id"].as_str().unwrap();
    assert_eq!(exported[3], served.get(&format!("/api/memories/{id}")).await.expect(200));

    let page = served.get("/api/memories/export?type=core&limit=1").await.expect(200);
    assert_eq!(
        (&page["memories"][0]["text"], &page["next_cursor"]),
        (&json!("small"), &json!(null))
    );
    let first = served.get("/api/memories/export?limit=1").await.expect(200);
    assert_eq!(first["memories"], json!([exported[0]]));
    assert!(first["next_cursor"].is_string());
    served.get("/api/memories/export?type=x").await.names("type");
    served.get("/api/memories/export?group_key=").await.names("group_key");
}

#[tokio::test]
async fn a_bulk_write_says_how_many_are_new() {
    let served = served().await;
    let note = |text: &str| json!({"type": "core", "text": text});
    let bulk = json!({"memories": [note("a"), note("b"), note("a")]});
    let answer = served.post("/api/memories/bulk", bulk.clone()).await.expect(201);
    assert_eq!(answer["written"], 2);
    let again = served.post("/api/memories/bulk", bulk).await.expect(201);
    assert_eq!((&again["written"], &again["ids"]), (&json!(0), &answer["ids"]));
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

async fn edit(served: &Served, path: &str, body: Value) -> Value {
    answer(served.ask("PATCH", path).json(&body)).await.expect(200)
}

#[tokio::test]
async fn an_edit_keeps_what_stood_there() {
    let served = served().await;
    let note = json!({"type": "core", "text": "one", "metadata": {"n": 1, "list": [1.5]}});
    let id = served.post("/api/memories", note).await.expect(201)["id"].clone();
    let path = format!("/api/memories/{}", id.as_str().unwrap());
    let versions = format!("{path}/versions");
    let none = json!({"versions": [], "next_cursor": null});
    assert_eq!(served.get(&versions).await.expect(200), none);

    let written = served.get(&path).await.expect(200);
    for nothing in [
        json!({"text": "one"}),
        json!({"importance": 0.5}),
        json!({"metadata": {"list": [1.5], "n": 1}}),
        json!({"text": "one", "importance": 0.5, "metadata": {"n": 1, "list": [1.5]}}),
    ] {
        assert_eq!(edit(&served, &path, nothing).await, written, "`updated_at` stays, too");
    }
    assert_eq!(served.get(&versions).await.expect(200), none);

    edit(&served, &path, json!({"text": "two"})).await;
    edit(&served, &path, json!({"importance": 1})).await;
    edit(&served, &path, json!({"text": "two", "metadata": {}})).await;
    let kept = served.get(&versions).await.expect(200);
    let said = |at: usize, key: &str| kept["versions"][at][key].clone();
    let of = |at| (said(at, "version"), said(at, "text"), said(at, "importance"));
    assert_eq!(of(0), (json!(3), json!("two"), json!(1.0)));
    assert_eq!(of(1), (json!(2), json!("two"), json!(0.5)));
    assert_eq!(of(2), (json!(1), json!("one"), json!(0.5)));
    assert_eq!(said(0, "metadata"), json!({"n": 1, "list": [1.5]}));
    assert_eq!(said(0, "replaced_by"), json!(null), "nobody proves who it is");
    assert!(said(0, "replaced_at").as_str() > said(1, "replaced_at").as_str());

    let first = served.get(&format!("{versions}?limit=2")).await.expect(200);
    assert_eq!(first["versions"].as_array().unwrap(), &kept["versions"].as_array().unwrap()[..2]);
    let next = first["next_cursor"].as_str().unwrap();
    let rest = served.get(&format!("{versions}?limit=2&cursor={next}")).await.expect(200);
    assert_eq!(rest, json!({"versions": [kept["versions"][2]], "next_cursor": null}));
    for cursor in ["", "x", "-1", "%2B1"] {
        served.get(&format!("{versions}?cursor={cursor}")).await.names("cursor");
    }
}

#[tokio::test]
async fn versions_are_bounded_in_number_and_a_page_in_bytes() {
    let served = served().await;
    let large = |n: usize| format!("{n} {}", "x".repeat(400 * 1024));
    let note = json!({"type": "archival", "text": large(0)});
    let id = served.post("/api/memories", note).await.expect(201)["id"].clone();
    let path = format!("/api/memories/{}", id.as_str().unwrap());
    let versions = format!("{path}/versions");
    for n in 1..=12 {
        edit(&served, &path, json!({"text": large(n)})).await;
    }
    let page = served.get(&versions).await.expect(200);
    let shown = page["versions"].as_array().unwrap().len();
    assert!((2..12).contains(&shown), "{shown} versions of 400 KiB in a page");
    let next = page["next_cursor"].as_str().unwrap();
    let rest = served.get(&format!("{versions}?cursor={next}")).await.expect(200);
    assert_eq!(shown + rest["versions"].as_array().unwrap().len(), 12);

    for n in 0..60 {
        edit(&served, &path, json!({"text": format!("edit {n}")})).await;
    }
    let kept = served.get(&versions).await.expect(200);
    let kept: Vec<_> = kept["versions"].as_array().unwrap().iter().collect();
    assert_eq!(kept.len(), 50);
    assert_eq!((&kept[0]["version"], &kept[49]["version"]), (&json!(72), &json!(23)));
}

#[tokio::test]
async fn a_version_says_who_replaced_it() {
    let served = served_to(async |store| Authenticator::keys(store)).await;
    let key =
        key_of(&served, "org_a", Some("user_a"), None, "memory:read memory:write", None).await;
    let ask = |method: &str, path: &str| served.bare(method, path).bearer_auth(&key.key);
    let note = ask("POST", "/api/memories").json(&json!({"type": "core", "text": "one"}));
    let id = answer(note).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/memories/{id}");
    answer(ask("PATCH", &path).json(&json!({"text": "two"}))).await.expect(200);
    let kept = answer(ask("GET", &format!("{path}/versions"))).await.expect(200);
    assert_eq!(kept["versions"][0]["replaced_by"], json!(key.info.key_id.to_string()));
}

/// Every row of every table, as text, with the name of the table.
async fn dump(admin_url: &str) -> Vec<(String, String)> {
    let mut admin = PgConnection::connect(admin_url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let mut dumped = Vec::new();
    for table in tables {
        let rows = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {table} t");
        let rows: String =
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_one(&mut admin).await.unwrap();
        dumped.push((table, rows));
    }
    dumped
}

#[tokio::test]
async fn what_is_forgotten_is_in_no_table() {
    let served = served().await;
    // As they stand in a text, and as terms: stemmed, and in pairs of characters.
    let canaries = ["zqcanar", "桄榔"];
    let text = |n: u32| format!("The zqcanaries sing {n} times. 院子里有一棵桄榔树。");
    let note = json!({"type": "core", "text": text(1).repeat(60), "group_key": "zqcanary 1",
                      "metadata": {"zqcanary": "桄榔"}});
    let id = served.post("/api/memories", note).await.expect(201)["id"].clone();
    let path = format!("/api/memories/{}", id.as_str().unwrap());
    edit(&served, &path, json!({"text": text(2)})).await;
    edit(&served, &path, json!({"metadata": {"other": "zqcanary 桄榔"}})).await;
    edit(&served, &path, json!({"text": "nothing of it", "metadata": {}})).await;
    let found = served.post("/api/memories/search", json!({"query": "桄榔 zqcanaries"})).await;
    assert_eq!(found.expect(200)["hits"], json!([]), "what was edited away is not found");

    let tables_with = |dumped: Vec<(String, String)>| -> Vec<String> {
        let has = |rows: &String| canaries.iter().any(|canary| rows.contains(canary));
        dumped.into_iter().filter(|(_, rows)| has(rows)).map(|(table, _)| table).collect()
    };
    let mut kept = tables_with(dump(&served.database.admin_url).await);
    kept.sort();
    assert_eq!(kept, ["public.memories", "public.memory_versions"], "the group, and the versions");
    edit(&served, &path, json!({"text": text(3)})).await;
    let kept = tables_with(dump(&served.database.admin_url).await);
    assert!(kept.len() >= 4, "chunks and postings, too: {kept:?}");

    assert_eq!(answer(served.ask("DELETE", &path)).await.status, 204);
    served.get(&format!("{path}/versions")).await.refused(404, "not_found");
    assert_eq!(tables_with(dump(&served.database.admin_url).await), [""; 0]);
}
