//! Turns at a provider with limits: how many, and whose.

use std::time::Duration;

use protocol::name::OrgId;
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    provider_turns::{TurnLimits, Turns, Unpaid},
};

use crate::fresh_with_database;

const BY_REQUESTS: TurnLimits =
    TurnLimits { requests_per_minute: Some(60), tokens_per_minute: None };

async fn take(store: &Store, limits: TurnLimits, calls: &[(&str, u64)], unpaid: Unpaid) -> Turns {
    let calls: Vec<(OrgId, u64)> =
        calls.iter().map(|(org, tokens)| (org.parse().unwrap(), *tokens)).collect();
    store.take_turns("p", limits, &calls, unpaid).await.unwrap()
}

/// Lets so many seconds pass for the provider and for all who wait.
async fn pass(admin: &mut PgConnection, seconds: f64) {
    let query = "with turns as (
            update provider_turns set requests_at = requests_at - make_interval(secs => $1),
                                      tokens_at = tokens_at - make_interval(secs => $1)
        )
        update provider_shares set waits_until = waits_until - make_interval(secs => $1)";
    sqlx::query(query).bind(seconds).execute(admin).await.unwrap();
}

#[tokio::test]
async fn calls_are_spread_over_the_minute_by_requests_and_by_tokens() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let none = Unpaid::default();
    let three = [("a", 1), ("a", 1), ("a", 1)];
    let turns = take(&store, BY_REQUESTS, &three, none).await;
    assert_eq!(turns.granted, [0], "one a second");
    assert!((0.4..=1.0).contains(&turns.ask_again.as_secs_f64()), "{turns:?}");
    assert_eq!(take(&store, BY_REQUESTS, &three, none).await.granted, [0_usize; 0]);
    pass(&mut admin, 1.0).await;
    assert_eq!(take(&store, BY_REQUESTS, &three, none).await.granted, [0]);
    // A long rest is made up for by half a second's worth.
    pass(&mut admin, 600.0).await;
    let many = [("a", 1); 200];
    let fast = TurnLimits { requests_per_minute: Some(6_000), tokens_per_minute: None };
    let granted = take(&store, fast, &many, none).await.granted.len();
    assert!((50..=60).contains(&granted), "{granted} at 100 a second");

    pass(&mut admin, 600.0).await;
    let by_tokens = TurnLimits { requests_per_minute: None, tokens_per_minute: Some(60_000) };
    let calls = [("a", 400), ("a", 400), ("a", 400)];
    assert_eq!(take(&store, by_tokens, &calls, none).await.granted, [0, 1], "1000 a second");
    // What was used beyond that is waited for.
    pass(&mut admin, 600.0).await;
    let unpaid = Unpaid { requests: 0, tokens: 3_000 };
    let turns = take(&store, by_tokens, &calls, unpaid).await;
    assert_eq!(turns.granted, [0_usize; 0]);
    assert!(turns.ask_again > Duration::from_secs(2), "{turns:?}");
}

#[tokio::test]
async fn organisations_are_served_in_turn_also_where_they_wait_at_different_nodes() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let none = Unpaid::default();
    // At one node: first one of each, whatever their order.
    let fast = TurnLimits { requests_per_minute: Some(600), tokens_per_minute: None };
    take(&store, fast, &[("c", 1)], none).await;
    pass(&mut admin, 600.0).await;
    let calls = [("a", 1), ("a", 1), ("a", 1), ("a", 1), ("b", 1), ("b", 1), ("b", 1)];
    let granted = take(&store, fast, &calls, none).await.granted;
    assert_eq!(granted, [0, 1, 2, 4, 5, 6], "half a second's worth, three for each");

    // At two nodes that ask one after another, one of them more often and for more.
    let (mut of_a, mut of_b) = (0, 0);
    for _ in 0..100 {
        pass(&mut admin, 0.1).await;
        for _ in 0..3 {
            of_a += take(&store, fast, &[("a", 1); 50], none).await.granted.len();
        }
        of_b += take(&store, fast, &[("b", 1); 5], none).await.granted.len();
    }
    let share =
        f64::from(u32::try_from(of_a).unwrap()) / f64::from(u32::try_from(of_a + of_b).unwrap());
    assert!((0.45..=0.55).contains(&share), "{of_a} and {of_b}");

    // Nobody is waited for who has gone.
    pass(&mut admin, 2.0).await;
    let granted = take(&store, fast, &[("a", 1); 50], none).await.granted.len();
    assert!(granted >= 5, "{granted}");
}

#[tokio::test]
async fn a_newcomer_is_served_at_once_and_has_no_credit_from_before() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let none = Unpaid::default();
    let fast = TurnLimits { requests_per_minute: Some(600), tokens_per_minute: None };
    for _ in 0..50 {
        pass(&mut admin, 1.0).await;
        take(&store, fast, &[("old", 1); 50], none).await;
    }
    let (mut of_old, mut of_new) = (0_u32, 0_u32);
    for _ in 0..20 {
        pass(&mut admin, 0.5).await;
        let calls: Vec<_> = [("old", 1), ("new", 1)].repeat(20);
        for place in take(&store, fast, &calls, none).await.granted {
            *(if place % 2 == 0 { &mut of_old } else { &mut of_new }) += 1;
        }
    }
    assert!(of_old.abs_diff(of_new) <= 2, "{of_old} and {of_new}");
}
