//! What operators see of their scope, and of nobody else's.

use protocol::message::Usage;
use serde_json::json;
use store::journal::{Entry, Totals};

use crate::served::{answer, served};

#[tokio::test]
async fn usage_is_summed_by_day_and_model() {
    let served = served().await;
    assert_eq!(served.get("/api/usage").await.expect(200), json!({"days": []}));
    for _ in 0..2 {
        served.create("a").await;
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
    let usage = served.get("/api/usage").await.expect(200);
    let today = day_of(&served.get("/api/runs").await.expect(200)["runs"][0]["created_at"]);
    assert_eq!(
        usage["days"][0],
        json!({"day": today, "model": "demo/default", "runs": 2, "input_tokens": 200,
               "output_tokens": 20, "reasoning_tokens": 0, "cached_tokens": 10, "cached_share": 0.05,
               "cost_usd": 0.5})
    );
    let others = served.bare("GET", "/api/usage").header("x-org-id", "org_a");
    let others = answer(others.header("x-user-id", "user_b")).await.expect(200);
    assert_eq!(others, json!({"days": []}));
}

/// The day of a timestamp.
fn day_of(at: &serde_json::Value) -> String {
    at.as_str().unwrap()[..10].to_owned()
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
