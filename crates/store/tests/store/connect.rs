//! Opening and migrating a database.

use protocol::{error::UnavailableReason, run::CreateRun};
use store::{
    Store,
    connect::{ConnectError, check_migrations, inspect, migrate},
    error::StoreError,
    settings::StoreSettings,
};

use crate::{fresh_with_database, open, ours};

#[tokio::test]
async fn migrating_is_safe_to_repeat_and_to_race() {
    let database = postgres::scratch::database().await;
    let url = database.owner_url;
    assert!(check_migrations(&url).await.unwrap() > 0);
    let (a, b) = tokio::join!(migrate(&url), migrate(&url));
    assert!(a.unwrap() + b.unwrap() > 0);
    assert_eq!(check_migrations(&url).await.unwrap(), 0);
    assert_eq!(migrate(&url).await.unwrap(), 0);
    let version = open(&database.app_url).await.server_version().await.unwrap();
    assert!(version.split('.').next().unwrap().parse::<u32>().unwrap() >= 15, "{version}");
}

#[tokio::test]
async fn the_role_of_the_runtime_is_no_superuser() {
    let (_store, database) = fresh_with_database().await;
    let mut connection = connect(&database.app_url).await;
    let (is_super, bypasses): (bool, bool) =
        sqlx::query_as("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(!is_super && !bypasses);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let check = async |url: &str, words: &[&str]| {
        let error = Store::connect(&StoreSettings::new(url)).await.unwrap_err();
        let text = format!("{error} (hint: {})", error.hint().unwrap());
        for word in words {
            assert!(text.contains(word), "{text:?} lacks {word:?}");
        }
        assert!(!text.contains("s3cret"), "{text:?}");
    };
    check("mysql://localhost/x", &["DATABASE_URL", "it should look like"]).await;
    check("postgres://u:s3cret@127.0.0.1:1/db", &["127.0.0.1:1/db", "check that it runs"]).await;
    let db = postgres::scratch::database().await;
    let wrong = db.app_url.replacen("postgres://openintern:", "postgres://nobody_here:s3cret", 1);
    check(&wrong, &["cannot connect", "check that it runs"]).await;
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let (_store, database) = fresh_with_database().await;
    let url = database.owner_url;
    let mut connection = connect(&url).await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', true, '', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let error = migrate(&url).await.unwrap_err();
    assert!(matches!(error, ConnectError::Schema { .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn a_database_of_an_earlier_development_build_is_refused_with_what_to_do() {
    let (store, database) = fresh_with_database().await;
    store.close().await;
    let mut connection = connect(&database.owner_url).await;
    sqlx::query("update _sqlx_migrations set checksum = 'other' where version = 1")
        .execute(&mut connection)
        .await
        .unwrap();
    let app = Store::connect(&StoreSettings::new(&database.app_url)).await.unwrap_err();
    let owner = migrate(&database.owner_url).await.unwrap_err();
    for error in [app, owner] {
        assert!(error.to_string().contains("an earlier development build"), "{error}");
        assert!(error.hint().unwrap().starts_with("move the data folder"), "{:?}", error.hint());
    }
}

#[tokio::test]
async fn what_was_done_to_the_schema_by_hand_is_named() {
    let check = async |damage: &'static str, named: &str| {
        let (store, database) = fresh_with_database().await;
        store.close().await;
        let mut connection = connect(&database.owner_url).await;
        sqlx::raw_sql(damage).execute(&mut connection).await.unwrap();
        let start = Store::connect(&StoreSettings::new(&database.app_url)).await.unwrap_err();
        let doctor = inspect(&database.app_url).await.unwrap_err();
        for error in [start, doctor] {
            assert!(error.to_string().contains(named), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    };
    check("alter table runs drop column input cascade", "`runs.input` is missing").await;
    check("update _sqlx_migrations set success = false where version = 2", "migration 2").await;
}

#[tokio::test]
async fn a_database_that_does_no_work_says_why() {
    let (store, database) = fresh_with_database().await;
    let mut connection = connect(&database.admin_url).await;
    let reason = async || {
        let error = store.scoped(&ours()).create_run(&CreateRun::new("x"), None).await.unwrap_err();
        (error.reason(), matches!(error, StoreError::Unavailable(_)))
    };
    for (code, expected) in [
        ("53100", UnavailableReason::DiskFull),
        ("53200", UnavailableReason::OutOfMemory),
        ("53400", UnavailableReason::OutOfResources),
        ("25006", UnavailableReason::ReadOnly),
    ] {
        let failing = format!(
            "create or replace function fail() returns trigger language plpgsql as $$
             begin raise exception 'x' using errcode = '{code}'; end $$;
             create or replace trigger fails before insert on runs
                 for each row execute function fail()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(failing)).execute(&mut connection).await.unwrap();
        assert_eq!(reason().await, (Some(expected), true), "{code}");
    }
    assert_eq!(inspect(&database.app_url).await.unwrap().reason, None);
    set(&mut connection, "default_transaction_read_only = on").await;
    let seen = inspect(&database.app_url).await.unwrap().reason;
    assert_eq!(seen, Some(UnavailableReason::ReadOnly));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_no_database_that_is_away() {
    let (store, database) = fresh_with_database().await;
    let mut connection = connect(&database.admin_url).await;
    let slow = "create function sleep() returns trigger language plpgsql as $$
                begin perform pg_sleep(60); return new; end $$;
                create trigger sleeps before insert on runs for each row execute function sleep()";
    sqlx::raw_sql(slow).execute(&mut connection).await.unwrap();
    let error = store.scoped(&ours()).create_run(&CreateRun::new("x"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::TooSlow(_)), "{error:?}");
}

#[tokio::test]
async fn no_plan_is_compiled_in_a_session_of_ours() {
    let (_store, database) = fresh_with_database().await;
    let mut connection = connect(&database.admin_url).await;
    set(&mut connection, "jit = on").await;
    // The value is looked at where a run is inserted, in whatever transaction that is.
    sqlx::raw_sql(
        "create function refuse_jit() returns trigger language plpgsql as $$
         begin
             if current_setting('jit') = 'on' then raise exception 'jit is on'; end if;
             return new;
         end $$;
         create trigger refuses before insert on runs for each row execute function refuse_jit()",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let url = &database.app_url;
    let through_a_pooler =
        StoreSettings { direct_url: Some(url.clone()), ..StoreSettings::new(url) };
    for settings in [StoreSettings::new(url), through_a_pooler] {
        let store = Store::connect(&settings).await.unwrap();
        store.scoped(&ours()).create_run(&CreateRun::new("x"), None).await.unwrap();
    }
}

/// What new sessions on the database have unless they ask for something else.
async fn set(connection: &mut sqlx::PgConnection, setting: &str) {
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&mut *connection).await.unwrap();
    let set = format!("alter database {name} set {setting}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(connection).await.unwrap();
}

async fn connect(url: &str) -> sqlx::PgConnection {
    use sqlx::Connection;
    sqlx::PgConnection::connect(url).await.unwrap()
}
