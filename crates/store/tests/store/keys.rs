//! API keys and the audit of an organisation.

use protocol::{
    audit::AuditAction,
    id::KeyId,
    key::{CreateKey, KeyCreated, Right, Rights},
    name::OrgId,
    page::PageLimit,
    time::Timestamp,
};
use serde_json::json;
use store::{
    Store,
    audit::NewRecord,
    error::StoreError,
    keys::{KeyHash, KeyHolder},
};

use crate::{fresh, fresh_with_database};

fn org(name: &str) -> OrgId {
    name.parse().unwrap()
}

fn new_key(name: &str) -> CreateKey {
    CreateKey {
        name: name.into(),
        user_id: Some("user_a".parse().unwrap()),
        project_id: None,
        rights: Rights::from(Right::RunsRead),
        expires_at: None,
    }
}

async fn made(store: &Store, name: &str) -> KeyCreated {
    store.create_key(&org("org_a"), "test", &new_key(name)).await.unwrap()
}

async fn holder(store: &Store, key: &str) -> Option<KeyHolder> {
    store.find_key(&KeyHash::of(key).unwrap()).await.unwrap()
}

fn limit(rows: u32) -> PageLimit {
    PageLimit::try_from(rows).unwrap()
}

#[tokio::test]
async fn a_key_finds_its_holder_and_is_kept_as_a_hash_only() {
    let (store, database) = fresh_with_database().await;
    let made = made(&store, "夜间报告").await;
    assert!(made.key.starts_with(&made.info.prefix) && made.info.prefix.len() == 11);
    let found = holder(&store, &made.key).await.unwrap();
    assert_eq!((&found.org_id, found.key_id), (&org("org_a"), made.info.key_id));
    assert_eq!(found.user_id.as_ref().map(|user| user.as_str()), Some("user_a"));
    assert_eq!((found.project_id, found.rights), (None, Rights::from(Right::RunsRead)));

    let listed = store.list_keys(&org("org_a"), None, limit(10)).await.unwrap().items;
    assert_eq!(listed, [made.info]);
    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&database.admin_url).await.unwrap();
    let kept: Vec<String> = sqlx::query_scalar(
        "select to_jsonb(k)::text from api_keys k union all select to_jsonb(a)::text from audit a",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|row| !row.contains(&made.key[11..])));
}

#[tokio::test]
async fn only_the_form_of_a_key_has_a_hash() {
    let store = fresh().await;
    let key = made(&store, "a").await.key;
    for text in ["", "oi_", &key[..66], &format!("{key}0"), &key.to_uppercase(), &key[3..]] {
        assert!(KeyHash::of(text).is_none(), "{text}");
    }
    let other = format!("oi_{}", "0".repeat(64));
    assert_eq!(holder(&store, &other).await, None);
}

#[tokio::test]
async fn what_is_revoked_or_expired_finds_nobody() {
    let store = fresh().await;
    let kept = made(&store, "kept").await;
    let revoked = made(&store, "revoked").await;
    store.revoke_key(&org("org_a"), "test", revoked.info.key_id).await.unwrap();
    assert_eq!(holder(&store, &revoked.key).await, None);
    store.revoke_key(&org("org_a"), "test", revoked.info.key_id).await.unwrap();
    let at = |text: &str| Some(serde_json::from_value::<Timestamp>(json!(text)).unwrap());
    for (expires_at, is_good) in [("2001-01-01T00:00:00Z", false), ("9999-01-01T00:00:00Z", true)] {
        let new = CreateKey { expires_at: at(expires_at), ..new_key("dated") };
        let made = store.create_key(&org("org_a"), "test", &new).await.unwrap();
        assert_eq!(made.info.expires_at, at(expires_at));
        assert_eq!(holder(&store, &made.key).await.is_some(), is_good, "{expires_at}");
    }
    assert!(holder(&store, &kept.key).await.is_some());
    let listed = store.list_keys(&org("org_a"), None, limit(10)).await.unwrap().items;
    let ended: Vec<_> = listed.iter().filter(|key| key.revoked_at.is_some()).collect();
    assert_eq!((listed.len(), ended.len(), ended[0].key_id), (4, 1, revoked.info.key_id));
}

#[tokio::test]
async fn a_stranger_finds_no_key_and_revokes_none() {
    let store = fresh().await;
    let made = made(&store, "a").await;
    let other = org("org_b");
    assert_eq!(store.list_keys(&other, None, limit(10)).await.unwrap().items, []);
    assert_eq!(store.list_audit(&other, None, limit(10)).await.unwrap().items, []);
    for key_id in [made.info.key_id, KeyId::generate()] {
        let refused = store.revoke_key(&other, "stranger", key_id).await;
        assert!(matches!(refused, Err(StoreError::NotFound)));
    }
    store.touch_key(&other, made.info.key_id).await.unwrap();
    let holder = holder(&store, &made.key).await.unwrap();
    assert!(!holder.is_touched);
}

#[tokio::test]
async fn use_is_noted_once_a_minute() {
    let (store, database) = fresh_with_database().await;
    let made = made(&store, "a").await;
    let key_id = made.info.key_id;
    let used_at = async || {
        let keys = store.list_keys(&org("org_a"), None, limit(1)).await.unwrap().items;
        keys[0].last_used_at
    };
    assert_eq!(used_at().await, None);
    store.touch_key(&org("org_a"), key_id).await.unwrap();
    let first = used_at().await.unwrap();
    assert!(holder(&store, &made.key).await.unwrap().is_touched);
    store.touch_key(&org("org_a"), key_id).await.unwrap();
    assert_eq!(used_at().await, Some(first));
    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&database.admin_url).await.unwrap();
    sqlx::query("update api_keys set last_used_at = last_used_at - interval '1 minute'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(!holder(&store, &made.key).await.unwrap().is_touched);
    store.touch_key(&org("org_a"), key_id).await.unwrap();
    assert!(used_at().await.unwrap() >= first);
}

#[tokio::test]
async fn lists_come_newest_first_page_by_page() {
    let store = fresh().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(made(&store, name).await.info.key_id);
    }
    ids.reverse();
    let first = store.list_keys(&org("org_a"), None, limit(2)).await.unwrap();
    let cursor = first.next_cursor.unwrap().parse().unwrap();
    let second = store.list_keys(&org("org_a"), Some(cursor), limit(2)).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&second.items).map(|key| key.key_id).collect();
    assert_eq!((seen, second.next_cursor), (ids, None));
}

#[tokio::test]
async fn the_audit_says_who_did_what() {
    let store = fresh().await;
    let key_id = made(&store, "a").await.info.key_id;
    store.revoke_key(&org("org_a"), "somebody", key_id).await.unwrap();
    store.revoke_key(&org("org_a"), "too late", key_id).await.unwrap();
    let record = NewRecord {
        actor: key_id.to_string(),
        action: AuditAction::RunCancelled,
        subject: "run_1".into(),
        detail: json!({"user_id": "u\u{0}"}).as_object().cloned().unwrap(),
    };
    store.append_audit(&org("org_a"), &record).await.unwrap();
    let first = store.list_audit(&org("org_a"), None, limit(1)).await.unwrap();
    assert_eq!(first.items[0].detail["user_id"], "u\u{FFFD}");
    let cursor = first.next_cursor.unwrap().parse().unwrap();
    let rest = store.list_audit(&org("org_a"), Some(cursor), limit(10)).await.unwrap();
    let rest: Vec<_> = rest.items.iter().map(|one| (one.actor.as_str(), one.action)).collect();
    assert_eq!(rest, [("somebody", AuditAction::KeyRevoked), ("test", AuditAction::KeyCreated)]);
}
