//! One organisation asks for all that the database has: others are served as ever.

use protocol::id::RunId;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::served::{Answer, Served, answer, served};

async fn created_by(served: &Served, org: &str) -> RunId {
    let request = served
        .bare("POST", "/api/runs")
        .header("x-org-id", org)
        .header("x-user-id", "user_a")
        .json(&json!({"input": "a"}));
    answer(request).await.expect(201)["run_id"].as_str().unwrap().parse().unwrap()
}

async fn read_by(served: &Served, org: &str, run_id: RunId) -> Answer {
    let request = served.bare("GET", &format!("/api/runs/{run_id}"));
    answer(request.header("x-org-id", org).header("x-user-id", "user_a")).await
}

#[tokio::test]
async fn who_asks_for_too_much_is_told_so_and_nobody_else_notices() {
    let served = served().await;
    let run_id = created_by(&served, "org_a").await;
    // As long as this row is held, each cancel waits in the database until its patience ends.
    let mut admin = PgConnection::connect(&served.database.admin_url).await.unwrap();
    let mut holds = admin.begin().await.unwrap();
    sqlx::query("select from runs where run_id = $1 for update")
        .bind(run_id.uuid())
        .execute(&mut *holds)
        .await
        .unwrap();
    let path = format!("/api/runs/{run_id}/cancel");
    let greedy = futures::future::join_all((0..60).map(|_| served.post(&path, json!({}))));
    let modest = async {
        for round in 0..20 {
            let org = format!("org_{}", round % 3 + 1);
            let run_id = created_by(&served, &org).await;
            read_by(&served, &org, run_id).await.expect(200);
        }
    };
    let (cancels, ()) = tokio::join!(greedy, modest);
    let (mut told, mut out_of_patience) = (0, 0);
    for cancel in cancels {
        match cancel.status {
            429 => {
                cancel.refused(429, "rate_limited");
                told += 1;
            }
            _ => {
                cancel.refused(503, "unavailable"); // It waited for the row, as long as one may.
                out_of_patience += 1;
            }
        }
    }
    assert!(told > out_of_patience && out_of_patience > 0, "{told} {out_of_patience}");
    holds.rollback().await.unwrap();
    served.post(&path, json!({})).await.expect(200);
}
