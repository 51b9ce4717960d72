//! Health, metrics, and what is said while the database is away.

use std::time::Duration;

use protocol::tool::CatalogNotes;
use serde_json::json;
use server::settings::ServerSettings;
use sqlx::Connection;
use store::nodes::NodeReport;
use uuid::Uuid;

use crate::served::{answer, served, served_by, served_with};

#[tokio::test]
async fn health_says_how_it_is() {
    let served = served().await;
    served.create("a").await;
    let health = answer(served.bare("GET", "/health")).await.expect(200);
    assert_eq!((&health["status"], &health["version"]), (&json!("degraded"), &json!("1.2.3")));
    assert_eq!(health["queue"], json!({"ready": 1, "leased": 0}));
    let node = NodeReport {
        node_id: Uuid::now_v7(),
        version: "1.2.3".into(),
        concurrency: 4,
        running: 1,
        tools: Vec::new(),
        notes: CatalogNotes::default(),
    };
    served.store.report_node(&node).await.unwrap();
    let health = answer(served.bare("GET", "/health")).await.expect(200);
    assert_eq!(health["status"], "ok");
    assert_eq!(health["workers"], json!({"nodes": 1, "capacity": 4, "running": 1}));
    assert_eq!(health["database"]["ok"], true);
    assert_eq!(answer(served.bare("GET", "/health/ready")).await.expect(200)["status"], "ok");
    let metrics = answer(served.bare("GET", "/metrics")).await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(metrics.text, "openintern_streams_open 0\n");
}

#[tokio::test]
async fn a_database_without_room_is_named_in_answers_and_in_health() {
    let served = served().await;
    assert_eq!(
        answer(served.bare("GET", "/health")).await.expect(200)["database"]["reason"],
        json!(null)
    );
    let mut connection = sqlx::PgConnection::connect(&served.database.admin_url).await.unwrap();
    sqlx::raw_sql(
        "create function fail() returns trigger language plpgsql as $$
         begin raise exception 'no room' using errcode = '53100'; end $$;
         create trigger fails before insert on runs for each row execute function fail()",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let refused = served.post("/api/runs", json!({"input": "a"})).await;
    assert_eq!(refused.expect(503)["error"]["reason"], "disk_full");
    let health = answer(served.bare("GET", "/health")).await.expect(200);
    assert_eq!(health["status"], "degraded");
    assert_eq!(
        (&health["database"]["ok"], &health["database"]["reason"]),
        (&json!(false), &json!("disk_full"))
    );
}

#[tokio::test]
async fn while_the_database_is_away_it_is_said_so() {
    let served = served().await;
    let run_id = served.create("a").await;
    served.store.close().await;
    let health = answer(served.bare("GET", "/health")).await;
    assert_eq!(health.header("retry-after"), "1");
    let health = health.expect(503);
    assert_eq!((&health["status"], &health["queue"]), (&json!("unavailable"), &json!(null)));
    answer(served.bare("GET", "/health/ready")).await.refused(503, "unavailable");
    assert_eq!(answer(served.bare("GET", "/health/live")).await.expect(200)["status"], "ok");
    served.get("/api/runs").await.refused(503, "unavailable");
    served.get(&format!("/api/runs/{run_id}/stream")).await.refused(503, "unavailable");
    served.post("/api/runs", json!({"input": "a"})).await.refused(503, "unavailable");
    let search = json!({"query": "a"});
    served.post("/api/memories/search", search).await.refused(503, "unavailable");
}

#[tokio::test]
async fn the_catalog_lists_agents_and_the_tools_of_living_workers() {
    let served = served().await;
    assert_eq!(
        served.get("/api/tools").await.expect(200),
        json!({"tools": [], "next_cursor": null, "left_out": [], "taught": []})
    );
    let agents = served.get("/api/agents?limit=1").await.expect(200);
    assert_eq!(agents["agents"][0]["agent_id"], "main");
    assert_eq!(agents["next_cursor"], "main");
    let agents = served.get("/api/agents?limit=1&cursor=main").await.expect(200);
    assert_eq!(agents["agents"][0]["agent_id"], "writer");
    assert_eq!(agents["next_cursor"], json!(null));
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing_and_harms_nobody() {
    let served = served_by(ServerSettings::default(), || panic!("a secret")).await;
    let refused = answer(served.bare("GET", "/metrics")).await;
    assert!(!refused.text.contains("secret"), "{}", refused.text);
    refused.refused(500, "internal");
    served.get("/api/runs").await.expect(200);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up_but_not_what_was_begun() {
    let served =
        served_with(ServerSettings { answer_timeout: Duration::ZERO, ..ServerSettings::default() })
            .await;
    // No answer comes as long as the table is locked.
    let mut admin = sqlx::PgConnection::connect(&served.database.admin_url).await.unwrap();
    let mut lock = admin.begin().await.unwrap();
    sqlx::query("lock table runs in access exclusive mode").execute(&mut *lock).await.unwrap();
    served.get("/api/runs").await.refused(503, "unavailable");
    let mut queue = served.store.watch_queue();
    served.post("/api/runs", json!({"input": "a"})).await.refused(503, "unavailable");
    lock.commit().await.unwrap();
    while served.store.queue_depth().await.unwrap().ready == 0 {
        queue.woken().await;
    }
}
