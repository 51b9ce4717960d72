//! What a step costs in the database, at the beginning of a long run and at its end.

use model::scripted::{Reply, Scripted};
use protocol::run::{CreateRun, RunStatus};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::World;

/// Steps of the run.
const STEPS: u32 = 300;
/// Steps that are compared, from either end.
const SHARE: i32 = 50;

/// Bytes of rows that belong to steps `$1` to `$2`, without indexes: messages are two a step.
const BYTES: &str = "
    select (select sum(pg_column_size(e)) from events e where step between $1 and $2)::bigint,
           (select sum(pg_column_size(c)) from checkpoints c where step between $1 and $2)::bigint,
           (select sum(pg_column_size(t)) from tool_calls t where step between $1 and $2)::bigint,
           (select sum(pg_column_size(m)) from run_messages m
            where position between 2 * $1 - 1 and 2 * $2)::bigint";

#[tokio::test(flavor = "multi_thread")]
async fn a_step_costs_as_much_at_the_end_of_a_long_run_as_at_its_beginning() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let script = Scripted::new(move |request| match request.tools.is_empty() {
        true => Reply::text("It read on."),
        false => match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 {
            STEPS => Reply::text("done"),
            n => Reply::call("read_file", json!({"path": "notes", "offset": n % 40 + 1})),
        },
    });
    let mut world = World::new(script).await;
    world.agent.limits.max_steps = Some(STEPS);
    let folder = world.workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("notes"), "a line of what was noted\n".repeat(40)).unwrap();
    let worker = world.worker();
    let run_id = world.create(&CreateRun::new("read on")).await;
    let run = world.ended_within(run_id, 5 * crate::PATIENCE).await;
    worker.stop(crate::PATIENCE).await;
    assert_eq!((run.status, run.step_count), (RunStatus::Completed, STEPS), "{:?}", run.error);

    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    let mut bytes = async |from: i32, to: i32| -> [i64; 4] {
        let row: (i64, i64, i64, i64) =
            sqlx::query_as(BYTES).bind(from).bind(to).fetch_one(&mut admin).await.unwrap();
        [row.0, row.1, row.2, row.3]
    };
    let last = i32::try_from(STEPS).unwrap() - 1;
    let (first, last) = (bytes(1, SHARE).await, bytes(last - SHARE + 1, last).await);
    println!(
        "bytes a step (events, checkpoint, ledger, messages): at the beginning {:?}, at the end {:?}",
        first.map(|sum| sum / i64::from(SHARE)),
        last.map(|sum| sum / i64::from(SHARE))
    );
    for (first, last) in first.iter().zip(last) {
        assert!(last < first * 3 / 2, "{first} bytes became {last}");
    }
}
