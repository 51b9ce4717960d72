//! Opening and migrating a database.

use store::{
    Store,
    connect::{ConnectError, check_migrations, migrate},
    settings::StoreSettings,
};

use crate::{fresh_with_database, open};

#[tokio::test]
async fn migrating_is_safe_to_repeat_and_to_race() {
    let database = postgres::scratch::database().await;
    let url = database.owner_url;
    assert!(check_migrations(&url).await.unwrap() > 0);
    let (a, b) = tokio::join!(migrate(&url), migrate(&url));
    assert!(a.unwrap() + b.unwrap() > 0);
    assert_eq!(check_migrations(&url).await.unwrap(), 0);
    assert_eq!(migrate(&url).await.unwrap(), 0);
    assert!(open(&database.app_url).await.server_version().await.unwrap().starts_with("18."));
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

async fn connect(url: &str) -> sqlx::PgConnection {
    use sqlx::Connection;
    sqlx::PgConnection::connect(url).await.unwrap()
}
