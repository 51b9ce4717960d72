//! Logins: found by their secret, ended by their end, by hand, or with their key.

use std::time::Duration;

use protocol::{
    key::{CreateKey, Right, Rights},
    name::OrgId,
};
use sqlx::{Connection, PgConnection};
use store::{
    Store,
    logins::{LOGINS_MAX, Login, LoginHash, LoginHolder},
};

use crate::fresh_with_database;

const HOUR: Duration = Duration::from_secs(3600);

fn org(name: &str) -> OrgId {
    name.parse().unwrap()
}

fn token() -> LoginHolder {
    LoginHolder::Token {
        user_id: "user_a".parse().unwrap(),
        project_id: Some("proj".parse().unwrap()),
        rights: Rights::from(Right::RunsRead),
        signing_key: Some("k1".into()),
    }
}

async fn key(store: &Store) -> LoginHolder {
    let new = CreateKey {
        name: "k".into(),
        user_id: Some("user_a".parse().unwrap()),
        project_id: None,
        rights: Rights::from(Right::RunsWrite),
        expires_at: None,
    };
    LoginHolder::Key(store.create_key(&org("org_a"), "test", &new).await.unwrap().info.key_id)
}

async fn found(store: &Store, secret: &str) -> Option<Login> {
    store.find_login(&LoginHash::of(secret).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_login_stands_for_its_key_or_token_and_is_kept_as_a_hash_only() {
    let (store, database) = fresh_with_database().await;
    let key = key(&store).await;
    let of_key = store.create_login(&org("org_a"), &key, HOUR).await.unwrap();
    let login = found(&store, &of_key).await.unwrap();
    assert_eq!((login.org_id, login.holder), (org("org_a"), key));
    assert_eq!(login.user_id.as_ref().map(|user| user.as_str()), Some("user_a"));
    assert_eq!((login.project_id, login.rights), (None, Rights::from(Right::RunsWrite)));

    let of_token = store.create_login(&org("org_a"), &token(), HOUR).await.unwrap();
    let login = found(&store, &of_token).await.unwrap();
    assert_eq!((&login.holder, login.rights), (&token(), Rights::from(Right::RunsRead)));
    assert_eq!(login.project_id.as_ref().map(|project| project.as_str()), Some("proj"));

    assert_ne!(of_key, of_token);
    for text in ["", "oil_", "oi_0", &of_key.to_uppercase(), &format!("{of_key}0")] {
        assert!(LoginHash::of(text).is_none(), "{text}");
    }
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let kept: Vec<String> = sqlx::query_scalar("select to_jsonb(l)::text from logins l")
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(kept.len(), 2);
    for secret in [&of_key, &of_token] {
        assert!(kept.iter().all(|row| !row.contains(&secret[4..])));
    }
}

#[tokio::test]
async fn a_login_ends_at_its_end_by_hand_and_with_its_key() {
    let (store, database) = fresh_with_database().await;
    let key = key(&store).await;
    let LoginHolder::Key(key_id) = key else { unreachable!() };
    let make =
        async |holder: &LoginHolder| store.create_login(&org("org_a"), holder, HOUR).await.unwrap();

    let by_hand = make(&key).await;
    let hash = LoginHash::of(&by_hand).unwrap();
    store.delete_login(&org("org_b"), &hash).await.unwrap();
    assert!(found(&store, &by_hand).await.is_some(), "another organisation ends none of ours");
    store.delete_login(&org("org_a"), &hash).await.unwrap();
    assert_eq!(found(&store, &by_hand).await, None);

    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let with_key = make(&key).await;
    let of_token = make(&token()).await;
    sqlx::query("update api_keys set expires_at = clock_timestamp()")
        .execute(&mut admin)
        .await
        .unwrap();
    assert_eq!(found(&store, &with_key).await, None, "its key has expired");
    sqlx::query("update api_keys set expires_at = null").execute(&mut admin).await.unwrap();
    assert!(found(&store, &with_key).await.is_some());
    store.revoke_key(&org("org_a"), "test", key_id).await.unwrap();
    assert_eq!(found(&store, &with_key).await, None, "its key is revoked");
    assert!(found(&store, &of_token).await.is_some());

    sqlx::query("update logins set expires_at = clock_timestamp()")
        .execute(&mut admin)
        .await
        .unwrap();
    assert_eq!(found(&store, &of_token).await, None);
    store.tidy_up().await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from logins").fetch_one(&mut admin).await.unwrap();
    assert_eq!(left, 0, "what has ended is removed");
}

#[tokio::test]
async fn logins_are_bounded_and_the_oldest_go() {
    let (store, _database) = fresh_with_database().await;
    let key = key(&store).await;
    let first = store.create_login(&org("org_a"), &key, HOUR).await.unwrap();
    let of_token = store.create_login(&org("org_a"), &token(), HOUR).await.unwrap();
    let mut last = String::new();
    for _ in 1..LOGINS_MAX {
        last = store.create_login(&org("org_a"), &key, HOUR).await.unwrap();
    }
    assert!(found(&store, &first).await.is_some());
    store.create_login(&org("org_a"), &key, HOUR).await.unwrap();
    assert_eq!(found(&store, &first).await, None);
    assert!(found(&store, &last).await.is_some());
    assert!(found(&store, &of_token).await.is_some(), "each has their own");
}
