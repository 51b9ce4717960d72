//! A managed PostgreSQL: nobody there is a superuser, and the roles of row-level security are not
//! there yet. In a process, and so a cluster, of its own, since roles belong to a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use protocol::{run::CreateRun, scope::Scope};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::{
    Store,
    connect::{inspect, migrate},
    settings::StoreSettings,
};
use uuid::Uuid;

#[tokio::test]
async fn an_owner_that_may_make_roles_makes_them_and_serves_tenants_apart() {
    let database = postgres::scratch::database().await;
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    // What a provider gives: a login that may make roles and owns its database, and the extension.
    run(
        &mut admin,
        "drop role openintern_app;
         drop role openintern_scheduler;
         create role managed login createrole nosuperuser nobypassrls password 'm'",
    )
    .await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&mut admin).await.unwrap();
    run(&mut admin, &format!("alter database {name} owner to managed")).await;
    let managed_url = as_login(&database.app_url, "managed", "m");
    migrate(&managed_url).await.unwrap();

    let mut managed = PgConnection::connect(&managed_url).await.unwrap();
    run(&mut managed, "create role runtime login password 'r' in role openintern_app").await;
    let runtime_url = as_login(&database.app_url, "runtime", "r");
    for (url, steps_down, org) in [(&runtime_url, false, "org_a"), (&managed_url, true, "org_b")] {
        let inspection = inspect(url).await.unwrap();
        assert_eq!(inspection.steps_down, steps_down, "{inspection:?}");
        assert!(inspection.open_tables.is_empty(), "{inspection:?}");
        let store = Store::connect(&StoreSettings::new(url)).await.unwrap();
        let ours = scope(org);
        let run_id =
            store.scoped(&ours).create_run(&CreateRun::new("task"), None).await.unwrap().run_id;
        let claims = store.claim(Uuid::now_v7(), 1, Duration::from_secs(10)).await.unwrap();
        assert_eq!(claims.first().unwrap().run_id, run_id);
        assert!(store.scoped(&ours).get_run(run_id).await.is_ok());
        assert!(store.scoped(&scope("org_c")).get_run(run_id).await.is_err());
        store.close().await;
    }
    // Neither sees a row without naming a tenant: `force` binds the owner, too.
    let mut runtime = PgConnection::connect(&runtime_url).await.unwrap();
    for connection in [&mut runtime, &mut managed] {
        let rows: i64 =
            sqlx::query_scalar("select count(*) from runs").fetch_one(connection).await.unwrap();
        assert_eq!(rows, 0);
    }
}

async fn run(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.unwrap();
}

fn scope(org: &str) -> Scope {
    Scope { org_id: org.parse().unwrap(), user_id: "user".parse().unwrap(), project_id: None }
}

/// The same database for another login.
fn as_login(url: &str, login: &str, password: &str) -> String {
    let (_, place) = url.split_once('@').unwrap();
    format!("postgres://{login}:{password}@{place}")
}
