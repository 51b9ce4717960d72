//! The store on a real PostgreSQL: what is kept, for whom, and which write is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod after_runs;
mod breakers;
mod budgets;
mod connect;
mod deltas;
mod embedder;
mod functions;
mod ids;
mod journal;
mod keys;
mod lessons;
mod logins;
mod notifier;
mod queue;
mod retention;
mod runs;
mod schema;
mod sessions;
mod silence;
mod stream;
mod suspects;
mod tenancy;
mod turns;

use protocol::{
    event::Fact,
    id::{RunId, SpanId},
    run::CreateRun,
    scope::Scope,
};
use store::{
    Store,
    connect::migrate,
    journal::{End, Entry, NewEvent},
    queue::Claim,
    settings::StoreSettings,
};
use uuid::Uuid;

/// A store on a fresh, migrated database.
async fn fresh() -> Store {
    fresh_with_database().await.0
}

async fn fresh_with_database() -> (Store, postgres::scratch::ScratchDatabase) {
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    (open(&database.app_url).await, database)
}

/// A store on a fresh database, with other settings than the usual ones.
async fn fresh_with(change: impl FnOnce(&mut StoreSettings)) -> Store {
    let (store, database) = fresh_with_database().await;
    store.close().await;
    let mut settings = StoreSettings::new(database.app_url);
    change(&mut settings);
    Store::connect(&settings).await.unwrap()
}

async fn open(url: &str) -> Store {
    Store::connect(&StoreSettings::new(url)).await.unwrap()
}

fn scope(org: &str, user: &str, project: Option<&str>) -> Scope {
    Scope {
        org_id: org.parse().unwrap(),
        user_id: user.parse().unwrap(),
        project_id: project.map(|name| name.parse().unwrap()),
    }
}

fn ours() -> Scope {
    scope("org_a", "user_a", None)
}

/// Everybody who must see nothing of ours.
fn strangers() -> Vec<Scope> {
    vec![
        scope("org_b", "user_a", None),
        scope("org_a", "user_b", None),
        scope("org_a", "user_a", Some("proj")),
    ]
}

async fn create(store: &Store) -> RunId {
    store.scoped(&ours()).create_run(&CreateRun::new("任务"), None).await.unwrap().run_id
}

async fn create_in(store: &Store, scope: &Scope, session: &str) -> RunId {
    let new = CreateRun { session_key: session.parse().unwrap(), ..CreateRun::new("x") };
    store.scoped(scope).create_run(&new, None).await.unwrap().run_id
}

async fn finish(store: &Store, claim: &Claim) {
    let end = Some(End::Completed { output: "done".into() });
    store.journal(claim).commit(&Entry { end, ..Entry::default() }).await.unwrap();
}

async fn claim_one(store: &Store) -> Claim {
    let lease = std::time::Duration::from_secs(10);
    let mut claims = store.claim(Uuid::now_v7(), 1, lease).await.unwrap();
    assert_eq!(claims.len(), 1);
    claims.remove(0)
}

fn event(fact: Fact) -> NewEvent {
    NewEvent {
        fact,
        step: None,
        span_id: SpanId::from_bits(1),
        parent_span_id: None,
        contains_secrets: false,
    }
}

fn warning(message: &str) -> NewEvent {
    event(Fact::RunWarning {
        code: "test".into(),
        message: message.into(),
        cause: None,
        tokens: None,
        switch: None,
    })
}

fn entry(events: Vec<NewEvent>) -> Entry {
    Entry { events, ..Entry::default() }
}
