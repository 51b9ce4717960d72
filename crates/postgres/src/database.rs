//! What every cluster of ours has: the database, the role that owns it, and pgvector. Tables are
//! not made here.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error};

/// The superuser of the cluster.
pub(crate) const ADMIN: &str = "openintern_admin";
/// The login of the runtime: bound by every policy, owner of nothing.
pub(crate) const APP: &str = "openintern";
/// The login that owns the database and migrates it.
pub(crate) const OWNER: &str = "openintern_owner";
/// The roles that policies and the scheduler's functions are written for. The runtime's schema would
/// make them itself, if its owner might make roles.
const ROLES: [&str; 2] = ["openintern_app", "openintern_scheduler"];
pub(crate) const DATABASE: &str = "openintern";
/// The database that `initdb` creates.
const FIRST_DATABASE: &str = "postgres";
const STATEMENT_TIMEOUT: &str = "30s";

/// Makes what is missing, and says the version of the server. Both logins have one password: they
/// are known to the same process.
pub(crate) async fn prepare(admin_url: &str, password: &str) -> Result<String, Error> {
    let options = PgConnectOptions::from_str(admin_url)?
        .options([("statement_timeout", STATEMENT_TIMEOUT)])
        .disable_statement_logging(); // Making a database is slow, and one of them has a password.
    let first = options.clone().database(FIRST_DATABASE);
    let mut connection = match PgConnection::connect_with(&options).await {
        Err(error) if is_unknown_database(&error) => {
            let mut first = PgConnection::connect_with(&first).await?;
            make_roles(&mut first, password).await?;
            let database = format!("create database {DATABASE} owner {OWNER}");
            sqlx::query(AssertSqlSafe(database)).execute(&mut first).await?;
            first.close().await?;
            PgConnection::connect_with(&options).await?
        }
        connected => connected?,
    };
    make_roles(&mut connection, password).await?;
    extend(&mut connection).await?;
    let version =
        sqlx::query_scalar("select split_part(current_setting('server_version'), ' ', 1)")
            .fetch_one(&mut connection)
            .await?;
    connection.close().await?;
    Ok(version)
}

/// Makes the roles that are missing, from a start that was cut short or an older version.
async fn make_roles(connection: &mut PgConnection, password: &str) -> Result<(), Error> {
    let known: Vec<String> = sqlx::query_scalar("select rolname::text from pg_roles")
        .fetch_all(&mut *connection)
        .await?;
    let is_missing = |role: &str| !known.iter().any(|name| name == role);
    // DDL takes no parameters. The password is hexadecimal.
    for role in ROLES.into_iter().filter(|role| is_missing(role)) {
        sqlx::query(AssertSqlSafe(format!("create role {role} nologin")))
            .execute(&mut *connection)
            .await?;
    }
    for login in [APP, OWNER].into_iter().filter(|login| is_missing(login)) {
        let statement = format!(
            "create role {login} login nosuperuser nocreatedb nocreaterole nobypassrls \
             password '{password}'"
        );
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    // The owner may give things to these roles; it does not act as them by itself. A server for tests
    // may be too old to be told so.
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut *connection)
        .await?;
    let inherits = if version < 160_000 { "" } else { "with inherit false" };
    let grants = format!(
        "grant openintern_app to {APP}, {OWNER};
         grant openintern_scheduler to {OWNER} {inherits}"
    );
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(&mut *connection).await?;
    if is_missing(OWNER) && !is_missing(APP) {
        // An older version had one login for both.
        let handover = format!(
            "alter database {DATABASE} owner to {OWNER}; reassign owned by {APP} to {OWNER}"
        );
        sqlx::raw_sql(AssertSqlSafe(handover)).execute(connection).await?;
    }
    Ok(())
}

/// Only a superuser may add pgvector, or bring it to the version that came with this build.
async fn extend(connection: &mut PgConnection) -> Result<(), Error> {
    let (installed, is_current): (bool, bool) = sqlx::query_as(
        "select installed_version is not null, installed_version is not distinct from default_version
         from pg_available_extensions where name = 'vector'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let statement = match (installed, is_current) {
        (true, true) => return Ok(()),
        (true, false) => "alter extension vector update",
        (false, _) => "create extension vector",
    };
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}

fn is_unknown_database(error: &Error) -> bool {
    // invalid_catalog_name in appendix A of PostgreSQL's manual.
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("3D000")
}
