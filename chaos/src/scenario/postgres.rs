//! The database goes away: single connections, then the postmaster by `kill -9`, which is started
//! again at once and recovers.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    client::PersistentClient,
    judge::{Case, Violation},
    load::Load,
    world::World,
};

/// Sessions that are ended between two crashes.
const SESSIONS: usize = 10;
/// Runs must go on so soon after PostgreSQL takes connections again.
const RECOVERY_MAX_S: f64 = 2.0;

pub(super) async fn run(world: &mut World, client: PersistentClient) -> Result<Case> {
    let (runs, crashes) = world.scale.of((30, 1), (1_000, 10));
    let load = Load { runs, in_flight: 16, steps: 5, words: 4, pace_ms: 8 };
    let pool = world.pool.clone();
    let faults = break_database(world, crashes);
    let (acked, accepting) = load.post_while(&client, &pool, faults).await?;
    let mut case = Case {
        acked,
        faults: format!(
            "{crashes} × kill -9 of the postmaster, {} × a session ended",
            crashes * SESSIONS
        ),
        may_linger_us: 10_000_000, // A worker without its database learns late of a lost lease.
        ..Case::new(client)
    };
    let mut slowest_s: f64 = 0.0;
    for at_us in accepting {
        let next: Option<f64> = sqlx::query_scalar(
            "select extract(epoch from min(ts))::float8 from events
             where org_id = $1 and ts > to_timestamp($2)",
        )
        .bind(&case.client.org)
        .bind(at_us as f64 / 1e6)
        .fetch_one(&pool)
        .await?;
        slowest_s = slowest_s.max(next.map_or(0.0, |next_s| next_s - at_us as f64 / 1e6));
    }
    case.faults.push_str(&format!("; work went on after at most {slowest_s:.2} s"));
    if slowest_s > RECOVERY_MAX_S {
        let detail = format!("work went on {slowest_s:.2} s after PostgreSQL took connections");
        case.violations.push(Violation::new("G7", detail));
    }
    Ok(case)
}

/// When PostgreSQL took connections again, each time.
async fn break_database(world: &mut World, crashes: usize) -> Result<Vec<i64>> {
    let mut dice = world.dice(3);
    let mut accepting = Vec::new();
    for _ in 0..crashes {
        for _ in 0..SESSIONS {
            sleep(Duration::from_millis(dice.u64(100..=300))).await;
            end_a_session(world, dice.u32(..)).await?;
        }
        accepting.push(world.crash_postgres().await?);
        sleep(Duration::from_millis(dice.u64(1_000..=3_000))).await;
    }
    Ok(accepting)
}

async fn end_a_session(world: &World, dice: u32) -> Result<()> {
    sqlx::query(
        "select pg_terminate_backend(pid) from (
             select pid from pg_stat_activity
             where backend_type = 'client backend' and usename = 'openintern'
             order by hashint4(pid # $1) limit 1) victim",
    )
    .bind(dice.cast_signed())
    .execute(&world.pool)
    .await?;
    Ok(())
}
