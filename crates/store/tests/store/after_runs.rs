//! Completed runs that are to be remembered: who may take them, how often, and what is let go.

use std::{collections::HashSet, time::Duration};

use protocol::{
    id::{MemoryId, RunId},
    memory::{MemoryFilters, MemoryType},
    message::Usage,
    page::PageLimit,
    run::CreateRun,
    scope::Scope,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::{
    Store,
    budgets::{Amount, Reservation},
    journal::{End, Entry, JournalError},
    memories::{
        Content, NewMemory, Origin,
        after_runs::{LeftByRun, Remembered, TRIES_MAX, ToRemember, WAITING_PER_ORG},
    },
    settings::DailyBudget,
};
use uuid::Uuid;

use crate::{claim_one, create_in, finish, fresh, fresh_with, fresh_with_database, ours, scope};

const LONG: Duration = Duration::from_secs(60);

/// A completed run that is to be remembered.
async fn completed(store: &Store, scope: &Scope, session: &str) -> RunId {
    let run_id = create_in(store, scope, session).await;
    let claim = claim_one(store).await;
    assert_eq!(claim.run_id, run_id);
    store.journal(&claim).commit(&end(true)).await.unwrap();
    run_id
}

fn end(remember: bool) -> Entry {
    Entry { end: Some(End::Completed { output: "done".into() }), remember, ..Entry::default() }
}

async fn taken(store: &Store, most: u32, hold: Duration) -> Vec<ToRemember> {
    store.claim_to_remember(most, hold).await.unwrap()
}

async fn take_one(store: &Store, hold: Duration) -> ToRemember {
    let mut taken = taken(store, 1, hold).await;
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

fn note(run: &ToRemember, text: &str) -> NewMemory {
    let id = MemoryId::after_run(run.run_id, 0);
    NewMemory {
        id,
        kind: MemoryType::Episodic,
        content: Content {
            text: text.into(),
            text_hash: [text.len() as u8; 32],
            chunks: Vec::new(),
            embedding_model: None,
        },
        metadata: Default::default(),
        importance: 0.3,
        group_key: Some(run.session_key.as_str().into()),
        position: None,
        occurred_at: Some(protocol::memory::OccurredAt::Instant(
            run.ended_at,
            jiff::tz::Offset::UTC,
        )),
        parent_id: Uuid::nil(),
        origin: Some(Origin { run_id: run.run_id, step: run.step_count }),
        visibility: protocol::memory::Visibility::Scope,
    }
}

/// Writes what one run leaves, as a scope that may not be its own.
async fn remember(
    store: &Store,
    scope: &Scope,
    run: &ToRemember,
    memories: Vec<NewMemory>,
) -> Remembered {
    let left = LeftByRun { scope: scope.clone(), run_id: run.run_id, memories };
    let done = store.remember_runs(&[left]).await.unwrap();
    done.get(&run.run_id).copied().unwrap_or_default()
}

#[tokio::test]
async fn the_end_of_a_run_notes_it_and_nothing_else_does() {
    let store = fresh().await;
    let run_id = completed(&store, &ours(), "s_a").await;
    create_in(&store, &ours(), "s_b").await;
    finish(&store, &claim_one(&store).await).await; // Not to be remembered.
    create_in(&store, &ours(), "s_c").await;
    let claim = claim_one(&store).await;
    let mut stale = store.journal(&claim);
    store.release(&[claim.lease()]).await.unwrap();
    claim_one(&store).await;
    let refused = stale.commit(&end(true)).await;
    assert!(matches!(refused, Err(JournalError::LeaseLost)), "{refused:?}");
    let all = taken(&store, 10, LONG).await;
    let [run] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((run.run_id, run.tries, &run.scope), (run_id, 1, &ours()));
    assert_eq!((run.input.as_str(), run.output.as_str()), ("x", "done"));
    assert_eq!(run.session_key.as_str(), "s_a");
}

#[tokio::test]
async fn many_share_the_work_and_nobody_takes_what_is_held() {
    let store = fresh().await;
    for at in 0..12 {
        completed(&store, &ours(), &format!("s_{at}")).await;
    }
    let claims = futures::future::join_all((0..6).map(|_| taken(&store, 2, LONG))).await;
    let ids: Vec<_> = claims.iter().flatten().map(|run| run.run_id).collect();
    let distinct: HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "one was taken twice");
    let rest = taken(&store, 12, LONG).await;
    assert_eq!(ids.len() + rest.len(), 12);
    assert!(taken(&store, 12, LONG).await.is_empty());
    // Handed back, it comes again and has lost no try.
    store.release_to_remember(&claims[0]).await.unwrap();
    let again = taken(&store, 12, LONG).await;
    assert_eq!(again.len(), claims[0].len());
    assert!(again.iter().all(|run| run.tries == 1));
}

#[tokio::test]
async fn each_organisation_gets_its_turn() {
    let store = fresh().await;
    for at in 0..5 {
        completed(&store, &ours(), &format!("s_{at}")).await;
    }
    let other = scope("org_b", "user_b", Some("p"));
    let theirs = completed(&store, &other, "s").await;
    let first = taken(&store, 2, LONG).await;
    assert!(first.iter().any(|run| run.run_id == theirs && run.scope == other), "{first:?}");
}

#[tokio::test]
async fn what_nobody_finishes_comes_again_a_few_times_and_is_let_go() {
    let store = fresh().await;
    completed(&store, &ours(), "s").await;
    for tries in 1..=TRIES_MAX {
        assert_eq!(store.forget_to_remember().await.unwrap(), 0);
        assert_eq!(take_one(&store, Duration::ZERO).await.tries, tries);
    }
    assert!(taken(&store, 1, LONG).await.is_empty());
    assert_eq!(store.forget_to_remember().await.unwrap(), 1);
    assert_eq!(store.forget_to_remember().await.unwrap(), 0);
}

#[tokio::test]
async fn what_waits_too_long_or_is_too_much_is_let_go() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let old = completed(&store, &ours(), "s_old").await;
    let young = completed(&store, &ours(), "s_young").await;
    let age = format!(
        "update runs_to_remember set noted_at = noted_at - interval '25 hours'
         where run_id = '{}'",
        old.uuid()
    );
    sqlx::query(AssertSqlSafe(age)).execute(&mut admin).await.unwrap();
    assert_eq!(store.forget_to_remember().await.unwrap(), 1);
    // More than an organisation may have: its oldest go, and nobody else's.
    sqlx::query(
        "insert into runs_to_remember (org_id, run_id)
         select 'org_b', lpad(to_hex(n), 32, '0')::uuid from generate_series(1, $1 + 3) n",
    )
    .bind(i64::from(WAITING_PER_ORG))
    .execute(&mut admin)
    .await
    .unwrap();
    assert_eq!(store.forget_to_remember().await.unwrap(), 3);
    let first: Uuid = sqlx::query_scalar(
        "select run_id from runs_to_remember where org_id = 'org_b' order by run_id limit 1",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(first.as_u128(), 4);
    sqlx::query("delete from runs_to_remember where org_id = 'org_b'")
        .execute(&mut admin)
        .await
        .unwrap();
    assert_eq!(take_one(&store, LONG).await.run_id, young);
}

#[tokio::test]
async fn a_run_leaves_its_memories_once() {
    let store = fresh().await;
    completed(&store, &ours(), "s").await;
    let slow = take_one(&store, Duration::ZERO).await;
    let quick = take_one(&store, LONG).await;
    assert_eq!(quick.run_id, slow.run_id);
    let scoped = store.scoped(&ours());
    let wrote = remember(&store, &ours(), &quick, vec![note(&quick, "a")]).await;
    assert_eq!(wrote, Remembered { written: 1, merged: 0 });
    let wrote = remember(&store, &ours(), &slow, vec![note(&slow, "ab")]).await;
    assert_eq!(wrote, Remembered::default());
    // The same text of another run: the memory stays, and moves to the later time.
    completed(&store, &ours(), "s").await;
    let next = take_one(&store, LONG).await;
    let wrote = remember(&store, &ours(), &next, vec![note(&next, "a")]).await;
    assert_eq!(wrote, Remembered { written: 0, merged: 1 });
    let page = scoped.list_memories(&MemoryFilters::default(), None, PageLimit::default()).await;
    let page = page.unwrap();
    let [memory] = page.items.as_slice() else { panic!("{page:?}") };
    assert_eq!(memory.occurred_at.unwrap().instant(), next.ended_at);
    let origin = scoped.get_memory(memory.id).await.unwrap().origin.unwrap();
    assert_eq!(origin.run_id, quick.run_id);
    for stranger in crate::strangers() {
        let theirs = store.scoped(&stranger);
        let page =
            theirs.list_memories(&MemoryFilters::default(), None, PageLimit::default()).await;
        assert!(page.unwrap().items.is_empty());
        let texts = store.texts_of_memories(&[(&stranger, &[memory.id])], 10).await.unwrap();
        assert!(texts.is_empty());
        let as_theirs = ToRemember { scope: stranger.clone(), ..quick.clone() };
        let known = store.known_to_runs(&[as_theirs], &[], 100).await.unwrap();
        assert!(known.events.is_empty() && known.core.is_empty(), "{known:?}");
    }
}

#[tokio::test]
async fn a_stranger_takes_no_note_away() {
    let store = fresh().await;
    completed(&store, &ours(), "s").await;
    let run = take_one(&store, Duration::ZERO).await;
    for stranger in crate::strangers() {
        let wrote = remember(&store, &stranger, &run, vec![note(&run, "a")]).await;
        assert_eq!(wrote, Remembered::default());
    }
    assert_eq!(take_one(&store, LONG).await.run_id, run.run_id);
}

#[tokio::test]
async fn a_call_after_a_run_is_set_aside_and_counted_like_one_of_a_run() {
    let store = fresh_with(|settings| {
        settings.budget = DailyBudget { tokens: Some(100), cost_usd: None };
    })
    .await;
    completed(&store, &ours(), "s").await;
    let lost = take_one(&store, Duration::ZERO).await;
    let scoped = store.scoped(&ours());
    let most = |tokens| Amount { tokens, cost_usd: 0.0 };
    let after = |run: &ToRemember, tokens| {
        let (run_id, tries) = (run.run_id, run.tries);
        let scoped = store.scoped(&ours());
        async move { scoped.reserve_usage_after(run_id, tries, most(tokens)).await.unwrap() }
    };
    assert_eq!(after(&lost, 10).await, Reservation::LeaseLost, "it is not held any more");
    let held = take_one(&store, LONG).await;
    assert_eq!(after(&held, 80).await, Reservation::Made);
    // It counts for whoever asks next, of whatever user.
    let other = scope("org_a", "user_b", None);
    store.scoped(&other).create_run(&CreateRun::new("x"), None).await.unwrap();
    let claim = claim_one(&store).await;
    let of_run = store.scoped(&other);
    let full = of_run.reserve_usage(claim.run_id, claim.epoch, most(21)).await.unwrap();
    assert!(matches!(full, Reservation::OverTokens(_)), "{full:?}");
    let used = Usage::new(20, 10, 0);
    scoped.settle_usage_after(held.run_id, held.tries, used, 0.0).await.unwrap();
    scoped.add_usage(held.run_id, used, 0.5).await.unwrap();
    let made = of_run.reserve_usage(claim.run_id, claim.epoch, most(70)).await.unwrap();
    assert_eq!(made, Reservation::Made);
    let run = scoped.get_run(held.run_id).await.unwrap();
    assert_eq!((run.usage.total_tokens, run.cost_usd), (30, 0.5));
    // What is set aside goes with the note.
    of_run.settle_usage(claim.run_id, claim.epoch, Usage::default(), 0.0).await.unwrap();
    assert_eq!(after(&held, 70).await, Reservation::Made);
    remember(&store, &ours(), &held, vec![]).await;
    let made = of_run.reserve_usage(claim.run_id, claim.epoch, most(70)).await.unwrap();
    assert_eq!(made, Reservation::Made);
}

#[tokio::test]
async fn runs_of_many_scopes_are_remembered_together_each_in_its_own() {
    let store = fresh().await;
    let scopes = [ours(), scope("org_a", "user_b", None), scope("org_a", "user_b", Some("p"))];
    for at in 0..9 {
        completed(&store, &scopes[at % 3], &format!("s_{at}")).await;
    }
    let runs = taken(&store, 10, LONG).await;
    // Two of each scope say the same.
    let left: Vec<_> = runs
        .iter()
        .map(|run| {
            let text = if run.session_key.as_str() < "s_6" { "same" } else { "other text" };
            let (scope, run_id) = (run.scope.clone(), run.run_id);
            LeftByRun { scope, run_id, memories: vec![note(run, text)] }
        })
        .collect();
    let done = store.remember_runs(&left).await.unwrap();
    let written: u32 = done.values().map(|done| done.written).sum();
    let merged: u32 = done.values().map(|done| done.merged).sum();
    assert_eq!((done.len(), written, merged), (9, 6, 3));
    for scope in &scopes {
        let scoped = store.scoped(scope);
        let all = MemoryFilters::default();
        let page = scoped.list_memories(&all, None, PageLimit::default());
        let mut texts: Vec<_> =
            page.await.unwrap().items.into_iter().map(|memory| memory.snippet).collect();
        texts.sort();
        assert_eq!(texts, ["other text", "same"]);
    }
    assert!(taken(&store, 10, Duration::ZERO).await.is_empty());
    assert!(store.remember_runs(&left).await.unwrap().is_empty(), "each is remembered once");
}
