//! What runs leave is written together, and each answers for itself.

use std::time::Duration;

use memory::service::after_runs::{MadeOfRun, Vectors};
use protocol::{memory::MemoryFilters, page::PageLimit, run::CreateRun};
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    connect::migrate,
    journal::{End, Entry},
    memories::after_runs::ToRemember,
    settings::StoreSettings,
};
use uuid::Uuid;

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// Runs of one organisation that have been completed and are to be remembered.
async fn completed(store: &Store, users: &[&str]) -> Vec<ToRemember> {
    for user in users {
        let scoped = store.scoped(&scope("acme", user, None));
        scoped.create_run(&CreateRun::new("x"), None).await.unwrap();
        let claim = store.claim(Uuid::now_v7(), 1, LONG).await.unwrap().remove(0);
        let end = Some(End::Completed { output: "done".into() });
        let entry = Entry { end, remember: true, ..Entry::default() };
        store.journal(&claim).commit(&entry).await.unwrap();
    }
    taken(store).await
}

/// In the order in which they were created.
async fn taken(store: &Store) -> Vec<ToRemember> {
    let mut runs = store.claim_to_remember(10, LONG).await.unwrap();
    runs.sort_by_key(|run| run.run_id);
    runs
}

#[tokio::test]
async fn what_one_run_is_refused_for_fails_no_neighbour() {
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    let store = Store::connect(&StoreSettings::new(&database.app_url)).await.unwrap();
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let refuses = "create function refuse() returns trigger language plpgsql as
             $$ begin raise 'it is refused'; end $$;
         create trigger refuse before insert on memories
             for each row when (new.text like '%poison%') execute function refuse()";
    sqlx::raw_sql(refuses).execute(&mut admin).await.unwrap();

    let service = MemoryService::new(store.clone(), None);
    let runs = completed(&store, &["ada", "ada", "ada", "bob"]).await;
    let texts = ["tea is green", "poison is green", "a\0b", "milk is white"];
    let made: Vec<_> = runs
        .iter()
        .zip(texts)
        .map(|(run, text)| MadeOfRun { run, memories: vec![fact(text)] })
        .collect();
    let outcomes = service.remember_runs(&made, Vectors::Now).await;
    let written: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.map(|done| done.written).ok()).collect();
    assert_eq!(written, [Some(1), None, None, Some(1)]);
    for (user, text) in [("ada", "tea is green"), ("bob", "milk is white")] {
        let all = service
            .list(&scope("acme", user, None), &MemoryFilters::default(), None, PageLimit::default())
            .await
            .unwrap();
        let texts: Vec<_> = all.items.into_iter().map(|memory| memory.snippet).collect();
        assert_eq!(texts, [text]);
    }
    // Those that failed are still noted, for another try.
    store.release_to_remember(&runs).await.unwrap();
    let again = taken(&store).await;
    let ids = |runs: &[ToRemember]| runs.iter().map(|run| run.run_id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&runs)[1..3]);
}
