//! Ids that the database makes and writes.

use protocol::id::RunId;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

#[tokio::test]
async fn an_id_sorts_by_the_microsecond_and_is_written_as_everywhere() {
    let database = postgres::scratch::database().await;
    store::connect::migrate(&database.owner_url).await.unwrap();
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let ids: Vec<(Uuid, String)> = sqlx::query_as(
        "select id, type_id('run', id)
         from (select new_id('2026-11-26 01:02:03.998Z'::timestamptz + n * interval '1 microsecond') as id
               from generate_series(0, 3999) n
               offset 0) made",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(ids.len(), 4000);
    assert!(ids.is_sorted_by(|(a, _), (b, _)| a < b));
    for (at_us, (id, text)) in (998_000..).zip(&ids) {
        assert_eq!(id.get_version_num(), 7);
        let (seconds, nanoseconds) = id.get_timestamp().unwrap().to_unix();
        assert_eq!(
            (seconds, nanoseconds / 1_000_000),
            (1_795_654_923 + at_us / 1_000_000, (at_us / 1000 % 1000) as u32)
        );
        assert_eq!(*text, RunId::from_uuid(*id).to_string());
    }
}
