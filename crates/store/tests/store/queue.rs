//! Claims and leases.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    time::Duration,
};

use protocol::{
    run::{CreateRun, RunStatus},
    tool::CatalogNotes,
};
use serde_json::Value;
use sqlx::{Connection, PgConnection, types::Json};
use store::{
    Store,
    error::StoreError,
    nodes::NodeReport,
    queue::{Claim, Lease},
    settings::StoreSettings,
};
use uuid::Uuid;

use crate::{
    claim_one, create, create_in, entry, finish, fresh, fresh_with, fresh_with_database, ours,
    warning,
};

const LEASE: Duration = Duration::from_secs(10);
const NO_LEASE: Duration = Duration::ZERO;

#[tokio::test]
async fn each_run_is_claimed_by_one_worker_only() {
    let store = fresh().await;
    let mut created = HashSet::new();
    for n in 0..40 {
        created.insert(create_in(&store, &ours(), &format!("s_{n}")).await);
    }
    let workers = (0..8).map(|_| store.claim(Uuid::now_v7(), 10, LEASE));
    let mut claimed = HashSet::new();
    for claims in futures::future::join_all(workers).await {
        for claim in claims.unwrap() {
            assert!(claimed.insert(claim.run_id), "claimed twice");
            assert_eq!((claim.epoch, claim.rescued, claim.attempts), (1, false, 0));
        }
    }
    // A worker may pass over a row that another is just looking at; nothing is left out for good.
    for claim in store.claim(Uuid::now_v7(), 40, LEASE).await.unwrap() {
        claimed.insert(claim.run_id);
    }
    assert_eq!(claimed, created);
}

#[tokio::test]
async fn the_oldest_is_claimed_first_and_an_expired_lease_before_it() {
    let store = fresh().await;
    let lost = create(&store).await;
    let node = Uuid::now_v7();
    assert_eq!(store.claim(node, 1, NO_LEASE).await.unwrap()[0].run_id, lost);
    let first = create_in(&store, &ours(), "s_1").await;
    create_in(&store, &ours(), "s_2").await;
    let claims = store.claim(node, 2, LEASE).await.unwrap();
    let ids: HashSet<_> = claims.iter().map(|claim| claim.run_id).collect();
    assert_eq!(ids, HashSet::from([lost, first]));
    let rescued = claims.iter().find(|claim| claim.run_id == lost).unwrap();
    assert_eq!((rescued.epoch, rescued.rescued, rescued.attempts), (2, true, 1));
}

#[tokio::test]
async fn a_lease_is_renewed_only_for_its_epoch() {
    let store = fresh().await;
    create(&store).await;
    let old = store.claim(Uuid::now_v7(), 1, NO_LEASE).await.unwrap().remove(0);
    let new = claim_one(&store).await;
    assert_eq!(new.epoch, old.epoch + 1);
    let renewed = store.renew(&[old.lease(), new.lease()], LEASE).await.unwrap();
    assert_eq!(renewed.len(), 1);
    assert_eq!((renewed[0].epoch, renewed[0].cancel_requested), (new.epoch, false));
    store.scoped(&ours()).cancel_run(new.run_id, "me", None).await.unwrap();
    assert!(store.renew(&[new.lease()], LEASE).await.unwrap()[0].cancel_requested);
    assert!(store.journal(&new).cancel_request().await.unwrap().is_some());
}

#[tokio::test]
async fn a_released_run_is_ready_at_once_and_counts_no_attempt() {
    let store = fresh().await;
    create(&store).await;
    let first = claim_one(&store).await;
    let stale = Lease { epoch: first.epoch + 7, ..first.lease() };
    store.release(&[stale]).await.unwrap();
    assert_eq!(store.queue_depth().await.unwrap().leased, 1);
    store.release(&[first.lease()]).await.unwrap();
    let second = claim_one(&store).await;
    assert_eq!((second.epoch, second.rescued, second.attempts), (2, false, 0));
}

#[tokio::test]
async fn a_claim_does_not_wait_for_a_run_that_is_being_written() {
    let store = fresh().await;
    create(&store).await;
    let claim = claim_one(&store).await;
    let mut journal = store.journal(&claim);
    for round in 0..50 {
        let (written, claims) = tokio::join!(
            async { journal.commit(&entry(vec![warning(&round.to_string())])).await },
            store.claim(Uuid::now_v7(), 1, LEASE)
        );
        written.unwrap();
        assert!(claims.unwrap().is_empty());
    }
    let run = store.scoped(&ours()).get_run(claim.run_id).await.unwrap();
    assert_eq!((run.status, run.event_count), (RunStatus::Running, 50));
}

#[tokio::test]
async fn the_leases_of_a_worker_that_is_gone_are_free_at_once() {
    let store = fresh().await;
    let (here, gone) = (store.enter().await.unwrap(), store.enter().await.unwrap());
    create_in(&store, &ours(), "s_1").await;
    create_in(&store, &ours(), "s_2").await;
    let ours_run = store.claim(here.node_id(), 1, LEASE).await.unwrap().remove(0);
    let lost_run = store.claim(gone.node_id(), 1, LEASE).await.unwrap().remove(0);
    assert_eq!(store.expire_lost(Uuid::nil()).await.unwrap(), 0, "both are there");
    gone.leave().await;
    let freed = async {
        loop {
            match store.expire_lost(here.node_id()).await.unwrap() {
                0 => tokio::task::yield_now().await, // The server is still closing the connection.
                freed => return freed,
            }
        }
    };
    let freed = tokio::time::timeout(LEASE, freed).await.expect("its death is noticed");
    assert_eq!(freed, 1);
    let rescued = claim_one(&store).await;
    assert_eq!((rescued.run_id, rescued.epoch, rescued.rescued), (lost_run.run_id, 2, true));
    assert_eq!(store.renew(&[ours_run.lease(), lost_run.lease()], LEASE).await.unwrap().len(), 1);
}

#[tokio::test]
async fn organisations_take_turns_however_long_the_backlog_of_one() {
    let store = fresh().await;
    let node = Uuid::now_v7();
    let (noisy, quiet) = (crate::scope("org_n", "u", None), crate::scope("org_q", "u", None));
    for n in 0..20 {
        create_in(&store, &noisy, &format!("s_{n}")).await;
    }
    let first = store.claim(node, 4, LEASE).await.unwrap();
    assert_eq!(first.len(), 4, "alone, it may have every place");
    let theirs = create_in(&store, &quiet, "s_1").await;
    create_in(&store, &quiet, "s_2").await;
    let next = store.claim(node, 1, LEASE).await.unwrap();
    assert_eq!(next[0].run_id, theirs, "the next place is for who has none");
    let orgs: Vec<_> = store
        .claim(node, 3, LEASE)
        .await
        .unwrap()
        .iter()
        .map(|claim| claim.scope.org_id.to_string())
        .collect();
    assert_eq!(orgs.iter().filter(|org| *org == "org_q").count(), 1);
}

#[tokio::test]
async fn an_organisation_has_no_more_at_work_than_it_may() {
    let store = fresh_with(|settings| settings.limits.running_per_org = Some(2)).await;
    let node = Uuid::now_v7();
    let other = crate::scope("org_q", "u", None);
    for n in 0..4 {
        create_in(&store, &ours(), &format!("s_{n}")).await;
    }
    create_in(&store, &other, "s_1").await;
    let mut claims = store.claim(node, 10, LEASE).await.unwrap();
    let of_ours = |claims: &[Claim]| claims.iter().filter(|c| c.scope == ours()).count();
    assert_eq!((of_ours(&claims), claims.len()), (2, 3));
    assert!(store.claim(node, 10, LEASE).await.unwrap().is_empty());
    claims.retain(|claim| claim.scope == ours());
    finish(&store, &claims[0]).await;
    assert_eq!(of_ours(&store.claim(node, 10, LEASE).await.unwrap()), 1);
}

/// A worker that has reported.
async fn worker_with(store: &Store, concurrency: u32) -> Uuid {
    let node_id = Uuid::now_v7();
    let report = NodeReport {
        node_id,
        version: "test".into(),
        concurrency,
        running: 0,
        tools: Vec::new(),
        notes: CatalogNotes::default(),
    };
    store.report_node(&report).await.unwrap();
    node_id
}

#[tokio::test]
async fn an_organisation_leaves_an_eighth_of_what_others_leave_to_who_comes_next() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let node = worker_with(&store, 40).await;
    let other_node = worker_with(&store, 24).await;
    let mut free = HashMap::from([(node, 40), (other_node, 24)]);
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    let mut claim_all = async || {
        loop {
            let mut claimed = 0;
            for (node, free) in free.iter_mut().filter(|(_, free)| **free > 0) {
                let claims = store.claim(*node, u32::min(*free, 16), LEASE).await.unwrap();
                claimed += claims.len();
                *free -= u32::try_from(claims.len()).unwrap();
                for claim in claims {
                    *held.entry(claim.scope.org_id.to_string()).or_default() += 1;
                }
            }
            if claimed == 0 {
                return held.values().copied().collect::<Vec<_>>();
            }
        }
    };
    enqueue(&mut admin, 0..1, 100).await;
    assert_eq!(claim_all().await, [56], "of 64 places");
    enqueue(&mut admin, 1..2, 100).await;
    assert_eq!(claim_all().await, [56, 7], "of the 8 that are left");
    enqueue(&mut admin, 2..4, 100).await;
    assert_eq!(claim_all().await, [56, 7, 1], "of few places none is kept");
}

#[tokio::test]
async fn more_leases_than_one_statement_renews_are_renewed() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    enqueue(&mut admin, 0..1, 1100).await;
    let claims = store.claim(Uuid::now_v7(), 1100, LEASE).await.unwrap();
    let leases: Vec<_> = claims.iter().map(Claim::lease).collect();
    store.release(&leases[1099..]).await.unwrap();
    assert_eq!(store.renew(&leases, LEASE).await.unwrap().len(), 1099);
}

#[tokio::test]
async fn a_full_queue_takes_no_more_of_its_organisation() {
    let store = fresh_with(|settings| settings.limits.queued_per_org = 2).await;
    create_in(&store, &ours(), "s_1").await;
    create_in(&store, &ours(), "s_1").await;
    let more = store.scoped(&ours()).create_run(&CreateRun::new("x"), None).await;
    assert!(matches!(more, Err(StoreError::QueueFull)), "{more:?}");
    create_in(&store, &crate::scope("org_q", "u", None), "s_1").await;
    claim_one(&store).await;
    create_in(&store, &ours(), "s_1").await;
}

/// Puts `runs` runs of each of the organisations with these numbers into the queue.
async fn enqueue(admin: &mut PgConnection, orgs: Range<i32>, runs: i32) {
    sqlx::query(
        "with created as (
             insert into runs (org_id, run_id, user_id, project_id, session_key, agent_id, input)
             select 'org_' || lpad(org::text, 5, '0'), run, 'u', '', run::text, 'a', 'x'
             from (select org, gen_random_uuid() as run
                   from generate_series($1, $2 - 1) as org, generate_series(1, $3)) new
             returning org_id, run_id, session_key)
         insert into queue (org_id, run_id, session_key)
         select org_id, run_id, session_key from created",
    )
    .bind(orgs.start)
    .bind(orgs.end)
    .bind(runs)
    .execute(admin)
    .await
    .unwrap();
}

/// Buffers that PostgreSQL looks at for this claim of 16 runs, on a new connection.
async fn buffers_of(claim: &'static str, url: &str) -> i64 {
    let mut admin = PgConnection::connect(url).await.unwrap();
    let mut looked_at = [0; 2];
    // The first one reads the catalogue, too, and plans.
    for buffers in &mut looked_at {
        let mut transaction = admin.begin().await.unwrap();
        let Json(plan): Json<Value> =
            sqlx::query_scalar(claim).fetch_one(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        let plan = &plan[0]["Plan"];
        assert_eq!(plan["Actual Rows"].as_f64(), Some(16.0), "{plan}");
        let count = |key: &str| plan[key].as_i64().unwrap();
        *buffers = count("Shared Hit Blocks") + count("Shared Read Blocks");
    }
    looked_at[1]
}

/// Holds a claim's buffers with 10,000 organisations against those with 100; `also` is done for the
/// runs that were put into the queue.
#[allow(clippy::print_stdout)] // Figures, for `--nocapture`.
async fn check_however_many_wait(claim: &'static str, also: &'static str) {
    let (_store, database) = fresh_with_database().await;
    let url = &database.admin_url;
    let mut admin = PgConnection::connect(url).await.unwrap();
    enqueue(&mut admin, 0..100, 20).await;
    sqlx::raw_sql(also).execute(&mut admin).await.unwrap();
    let few = buffers_of(claim, url).await;
    enqueue(&mut admin, 100..10_000, 20).await;
    sqlx::raw_sql(also).execute(&mut admin).await.unwrap();
    // With what the planner knew before, and with what it can know.
    for statement in ["select", "analyze"] {
        sqlx::raw_sql(statement).execute(&mut admin).await.unwrap();
        let many = buffers_of(claim, url).await;
        println!("{few} buffers with 100 organisations, {many} with 10,000, after `{statement}`");
        assert!(
            many <= 2 * few,
            "after `{statement}`: {few} buffers with 100 organisations, {many} with 10,000"
        );
    }
}

#[tokio::test]
async fn a_claim_costs_the_same_however_many_organisations_wait() {
    check_however_many_wait(
        "explain (analyze, buffers, format json)
         select * from claim_runs(gen_random_uuid(), 16, 10, 64, 5, 2, 'org_00050', 16, 8, 15)",
        "select",
    )
    .await;
}

#[tokio::test]
async fn so_does_taking_runs_to_remember() {
    check_however_many_wait(
        "explain (analyze, buffers, format json)
         select * from claim_to_remember(16, 10, 3, 'org_00050', 100)",
        "update runs set status = 'completed', ended_at = created_at;
         insert into runs_to_remember (org_id, run_id) select org_id, run_id from runs
         on conflict do nothing;
         delete from queue",
    )
    .await;
}

#[tokio::test]
async fn of_many_organisations_each_is_served_once_before_any_is_served_again() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    enqueue(&mut admin, 0..100, 3).await;
    for _ in 0..3 {
        let mut served = HashSet::new();
        // Runs that end at once: nobody has any in hand at the next claim.
        for most in [1, 1, 40, 1, 7, 50] {
            for claim in store.claim(Uuid::now_v7(), most, LEASE).await.unwrap() {
                finish(&store, &claim).await;
                assert!(served.insert(claim.scope.org_id.clone()), "{} again", claim.scope.org_id);
            }
        }
        assert_eq!(served.len(), 100);
    }
    assert!(store.claim(Uuid::now_v7(), 1, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_goes_past_all_who_have_nothing_to_give() {
    let (store, database) = fresh_with_database().await;
    store.close().await;
    let mut settings = StoreSettings::new(&database.app_url);
    settings.limits.running_per_org = Some(2);
    let store = Store::connect(&settings).await.unwrap();
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    enqueue(&mut admin, 0..100, 3).await;
    let claims = store.claim(Uuid::now_v7(), 300, LEASE).await.unwrap();
    assert_eq!(claims.len(), 200, "each has what it may have at once");
    enqueue(&mut admin, 100..200, 1).await;
    let later = "update queue set available_at = available_at + interval '1 hour'
                 where org_id >= 'org_00100'";
    sqlx::query(later).execute(&mut admin).await.unwrap();
    enqueue(&mut admin, 200..300, 1).await;
    let mut other = PgConnection::connect(&database.admin_url).await.unwrap();
    let mut claiming = other.begin().await.unwrap();
    let locked = "select from queue where org_id >= 'org_00200' for update";
    sqlx::query(locked).execute(&mut *claiming).await.unwrap();
    assert_eq!(store.claim(Uuid::now_v7(), 1, LEASE).await.unwrap().len(), 0);
    enqueue(&mut admin, 300..302, 1).await;
    assert_eq!(store.claim(Uuid::now_v7(), 5, LEASE).await.unwrap().len(), 2);
    claiming.rollback().await.unwrap();
    assert_eq!(store.claim(Uuid::now_v7(), 200, LEASE).await.unwrap().len(), 100);
}
