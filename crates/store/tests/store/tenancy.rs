//! Tenants are kept apart by the database itself: what the login of the runtime can reach with
//! statements of its own, and what the start refuses.

use protocol::{
    key::{CreateKey, Rights},
    page::PageLimit,
    run::CreateRun,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use store::{
    Store,
    connect::{ConnectError, inspect},
    journal::{End, Entry, NewCheckpoint, NewDelta},
    provider_turns::{TurnLimits, Unpaid},
    runs::IdempotencyKey,
    settings::StoreSettings,
    stream::StreamCursor,
};

use crate::{claim_one, fresh_with_database, ours, warning};

/// Every table with an `org_id`.
async fn tables(connection: &mut PgConnection) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.columns
         where table_schema = 'public' and column_name = 'org_id' order by 1",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    assert!(tables.len() >= 12, "{tables:?}");
    tables
}

/// Puts a row of ours into every table that requests and workers write.
async fn fill(store: &Store, admin: &mut PgConnection) {
    let key = IdempotencyKey { key: "k".into(), request_hash: [0; 32] };
    let scoped = store.scoped(&ours());
    scoped.create_run_once(&CreateRun::new("任务"), None, &key).await.unwrap();
    let delta = NewDelta { at: StreamCursor { seq: 0, n: 1 }, step: 1, text: Some("text".into()) };
    let call = protocol::event::Fact::ToolCalled {
        tool_call_id: protocol::id::CallId::from_uuid(uuid::Uuid::now_v7()),
        tool: "t".into(),
        args: serde_json::json!({}),
        effect: protocol::tool::Effect::AtMostOnce,
    };
    let entry = Entry {
        events: vec![warning("1"), crate::event(call)],
        deltas: vec![delta],
        messages: vec![protocol::message::Message::User { content: "hello".into() }],
        checkpoint: Some(NewCheckpoint { step: 1, message_count: 1, state: serde_json::json!({}) }),
        end: Some(End::Completed { output: "done".into() }),
        remember: true,
        ..Entry::default()
    };
    let claim = claim_one(store).await;
    let most = store::budgets::Amount { tokens: 1, cost_usd: 0.0 };
    scoped.reserve_usage(claim.run_id, claim.epoch, most).await.unwrap();
    store.journal(&claim).commit(&entry).await.unwrap();
    scoped.create_run(&CreateRun::new("in the queue"), None).await.unwrap();
    let key = CreateKey {
        name: "k".into(),
        rights: Rights::known(["runs:read"]),
        user_id: None,
        project_id: None,
        expires_at: None,
    };
    let key = store.create_key(&ours().org_id, "test", &key).await.unwrap(); // And its audit.
    let holder = store::logins::LoginHolder::Key(key.info.key_id);
    let lasts = std::time::Duration::from_secs(60);
    store.create_login(&ours().org_id, &holder, lasts).await.unwrap();
    scoped.keep_tool_set("0123456789abcdef", &[]).await.unwrap();
    let limits = TurnLimits { requests_per_minute: Some(1), tokens_per_minute: None };
    let calls = [(ours().org_id, 1)];
    store.take_turns("p", limits, &calls, Unpaid::default()).await.unwrap();
    sqlx::raw_sql(
        "insert into memories (org_id, user_id, project_id, memory_id, type, text, text_hash,
                               importance)
         values ('org_a', 'user_a', '', gen_random_uuid(), 'core', 'secret', '', 0.5);
         insert into memory_chunks (org_id, user_id, project_id, memory_id, parent_id, position,
                                    ordinal, chunk_text, length, search_tsv)
         select org_id, user_id, project_id, memory_id, memory_id, 0, 0, 'secret', 1, ''
         from memories;
         insert into memory_postings (org_id, user_id, project_id, term, chunk_id, frequency)
         select org_id, user_id, project_id, 'secret', chunk_id, 1 from memory_chunks;
         insert into memory_versions (org_id, memory_id, version, user_id, project_id, text,
                                      metadata, importance)
         select org_id, memory_id, 1, user_id, project_id, text, metadata, importance
         from memories;
         insert into memories (org_id, user_id, project_id, memory_id, type, text, text_hash,
                               importance)
         values ('org_a', 'user_a', '', gen_random_uuid(), 'core', 'other', '', 0.5);
         insert into memory_links (org_id, user_id, project_id, from_id, to_id, kind, score)
         select a.org_id, a.user_id, a.project_id, a.memory_id, b.memory_id, 'duplicate', 1
         from memories a join memories b on a.text = 'secret' and b.text = 'other';
         insert into memory_scope_stats (org_id, user_id, project_id)
         values ('org_a', 'user_a', '')",
    )
    .execute(&mut *admin)
    .await
    .unwrap();
}

/// The tables that hold rows in the end: none is forgotten by this test.
async fn filled(admin: &mut PgConnection) -> Vec<String> {
    let mut filled = Vec::new();
    for table in tables(admin).await {
        let statement = format!("select count(*) from {table}");
        let rows: i64 =
            sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *admin).await.unwrap();
        assert!(rows > 0, "the test puts nothing into `{table}`");
        filled.push(table);
    }
    filled
}

#[tokio::test]
async fn raw_statements_reach_no_row_of_another_tenant() {
    let (store, database) = fresh_with_database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    fill(&store, &mut admin).await;
    let tables = filled(&mut admin).await;
    let mut app = PgConnection::connect(&database.app_url).await.unwrap();
    let strangers = [
        "", // No tenant at all.
        "set local openintern.org_id = ''",
        "set local openintern.org_id = 'org_b'; set local openintern.user_id = 'user_a'; \
         set local openintern.project_id = ''",
    ];
    for table in &tables {
        for stranger in strangers {
            for statement in [
                format!("select * from {table}"),
                format!("select * from {table} where org_id = 'org_a'"),
                format!("update {table} set org_id = org_id"),
                format!("delete from {table}"),
                format!("insert into {table} select * from {table}"),
                format!("truncate {table}"),
            ] {
                let mut tx = app.begin().await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(stranger.to_owned())).execute(&mut *tx).await.unwrap();
                // Refused, or nothing was there.
                if let Ok(done) =
                    sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *tx).await
                {
                    assert_eq!(done.rows_affected(), 0, "{stranger:?}: {statement}");
                    assert!(!statement.starts_with("truncate"), "{statement}");
                }
                tx.rollback().await.unwrap();
            }
        }
        // What is ours is there; a row of theirs cannot be written as ours.
        let mut tx = app.begin().await.unwrap();
        sqlx::raw_sql(
            "set local openintern.org_id = 'org_a'; set local openintern.user_id = 'user_a'; \
             set local openintern.project_id = ''",
        )
        .execute(&mut *tx)
        .await
        .unwrap();
        let statement = format!("select count(*) from {table}");
        let seen: Result<i64, _> =
            sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *tx).await;
        assert!(seen.unwrap() > 0, "`{table}` shows its owner nothing");
        let move_away = format!("update {table} set org_id = 'org_b'");
        assert!(sqlx::query(AssertSqlSafe(move_away.clone())).execute(&mut *tx).await.is_err());
        tx.rollback().await.unwrap();
    }
    // What more may see is seen by them, and can be made somebody else's by nobody.
    let shared = ["memories", "memory_chunks", "memory_postings", "memory_scope_stats"];
    for (home, seen_by) in [
        ("user_id = 'user_a', project_id = '*'", ["proj"].as_slice()),
        ("user_id = '*', project_id = '*'", &["proj", "other user"]),
    ] {
        for table in shared {
            let key = if table == "memory_postings" { "chunk_id" } else { "org_id" };
            let writer = if table == "memories" { ", writer_user_id = 'user_a'" } else { "" };
            let mut tx = admin.begin().await.unwrap();
            let moved = format!("update {table} set {home}{writer}");
            sqlx::raw_sql(AssertSqlSafe(moved)).execute(&mut *tx).await.unwrap();
            for (name, org, user, project) in [
                ("proj", "org_a", "user_a", "proj"),
                ("other user", "org_a", "user_b", ""),
                ("other org", "org_b", "user_a", ""),
                ("all of another org", "org_b", "*", "*"),
            ] {
                let context = format!(
                    "set local role openintern_app; set local openintern.org_id = '{org}'; \
                     set local openintern.user_id = '{user}'; \
                     set local openintern.project_id = '{project}'"
                );
                let mut inner = tx.begin().await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(context)).execute(&mut *inner).await.unwrap();
                let statement = format!("select count({key}) from {table}");
                let seen: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
                    .fetch_one(&mut *inner)
                    .await
                    .unwrap();
                assert_eq!(seen > 0, seen_by.contains(&name), "{table} with {home} for {name}");
                for theft in [
                    "user_id = 'user_c', project_id = ''",
                    "user_id = 'user_c', project_id = '*'",
                    "org_id = 'org_c'",
                ] {
                    let mut attempt = inner.begin().await.unwrap();
                    let statement = format!("update {table} set {theft}");
                    let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut *attempt).await;
                    assert!(done.map_or(true, |done| done.rows_affected() == 0), "{table} {theft}");
                    attempt.rollback().await.unwrap();
                }
                inner.rollback().await.unwrap();
            }
            tx.rollback().await.unwrap();
        }
    }
    // Another user or project of the organisation sees none of what belongs to one.
    for other in ["user_id = 'user_b'", "project_id = 'proj'"] {
        for table in [
            "runs",
            "memories",
            "memory_versions",
            "memory_chunks",
            "memory_postings",
            "memory_links",
            "idempotency_keys",
        ] {
            let mut tx = app.begin().await.unwrap();
            let context = format!(
                "set local openintern.org_id = 'org_a'; set local openintern.user_id = 'user_a'; \
                 set local openintern.project_id = ''; set local openintern.{other}"
            );
            sqlx::raw_sql(AssertSqlSafe(context)).execute(&mut *tx).await.unwrap();
            let statement = format!("select count(*) from {table}");
            let seen: i64 =
                sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *tx).await.unwrap();
            assert_eq!(seen, 0, "{table} with {other}");
            tx.rollback().await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_login_can_do_no_more_than_it_should() {
    let (_store, database) = fresh_with_database().await;
    let mut app = PgConnection::connect(&database.app_url).await.unwrap();
    for statement in [
        "create table mine (id int)",
        "alter table runs disable row level security",
        "drop policy tenant on runs",
        "set role openintern_scheduler",
        "set role openintern_owner",
        "set row_security = off; select count(*) from runs",
        "create function f() returns int language sql as 'select 1'",
        "copy runs to program 'cat'",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut app).await;
        assert!(refused.is_err(), "{statement}");
    }
}

#[tokio::test]
async fn a_database_that_would_leak_is_not_served() {
    for (breakage, words) in [
        ("alter table events no force row level security", "`events` does not force"),
        ("alter table runs disable row level security", "`runs` has no row-level security"),
        ("drop policy tenant on memories", "`memories` lacks the policy `tenant`"),
        ("drop policy scope on memories", "`memories` lacks the policy `scope`"),
        ("create policy all_of_it on runs using (true)", "`all_of_it`, which is not ours"),
        ("create table leaky (org_id text not null)", "`leaky` has no row-level security"),
        ("alter table queue owner to openintern_app", "`queue` belongs to the role"),
    ] {
        let (store, database) = fresh_with_database().await;
        store.close().await;
        let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
        sqlx::raw_sql(breakage).execute(&mut admin).await.unwrap();
        let refused = Store::connect(&StoreSettings::new(&database.app_url)).await;
        let Err(ConnectError::Tenancy { found, .. }) = refused else {
            panic!("{breakage}: {refused:?}");
        };
        assert!(found.contains(words), "{breakage}: {found}");
    }
}

#[tokio::test]
async fn a_login_that_is_more_steps_down() {
    let (_store, database) = fresh_with_database().await;
    for url in [&database.admin_url, &database.owner_url] {
        let store = Store::connect(&StoreSettings::new(url)).await.unwrap();
        let run_id = crate::create(&store).await;
        let claim = claim_one(&store).await;
        crate::finish(&store, &claim).await;
        assert!(store.scoped(&ours()).get_run(run_id).await.is_ok());
        for stranger in crate::strangers() {
            let scoped = store.scoped(&stranger);
            assert!(scoped.get_run(run_id).await.is_err());
            let list = scoped.list_runs(&Default::default(), None, PageLimit::default()).await;
            assert!(list.unwrap().items.is_empty());
        }
        let found = inspect(url).await.unwrap();
        assert!(found.steps_down && found.open_tables.is_empty(), "{found:?}");
    }
    assert!(!inspect(&database.app_url).await.unwrap().steps_down);
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    let row = sqlx::query("select current_user::text").fetch_one(&mut admin).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "openintern_admin");
}
