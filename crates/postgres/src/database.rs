//! What every cluster of ours has: the database, the role that owns it, and pgvector. Tables are
//! not made here.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error};

/// The superuser.
pub(crate) const ADMIN: &str = "openintern_admin";
/// The role of the runtime.
pub(crate) const APP: &str = "openintern";
pub(crate) const DATABASE: &str = "openintern";
/// The one that `initdb` makes.
const FIRST_DATABASE: &str = "postgres";
const STATEMENT_TIMEOUT: &str = "30s";

/// Makes what is missing, and says the version of the server.
pub(crate) async fn prepare(admin_url: &str, app_password: &str) -> Result<String, Error> {
    let options = PgConnectOptions::from_str(admin_url)?
        .options([("statement_timeout", STATEMENT_TIMEOUT)])
        .disable_statement_logging(); // Making a database is slow, and one of them has a password.
    let mut connection = match PgConnection::connect_with(&options).await {
        Err(error) if is_unknown_database(&error) => {
            create(&options.clone().database(FIRST_DATABASE), app_password).await?;
            PgConnection::connect_with(&options).await?
        }
        connected => connected?,
    };
    extend(&mut connection).await?;
    let version =
        sqlx::query_scalar("select split_part(current_setting('server_version'), ' ', 1)")
            .fetch_one(&mut connection)
            .await?;
    connection.close().await?;
    Ok(version)
}

async fn create(options: &PgConnectOptions, app_password: &str) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    // The role may be there already, from a start that was cut short.
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(APP)
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        // DDL takes no parameters. The password is hexadecimal.
        let role = format!(
            "create role {APP} login nosuperuser nocreatedb nocreaterole nobypassrls password '{app_password}'"
        );
        sqlx::query(AssertSqlSafe(role)).execute(&mut connection).await?;
    }
    let database = format!("create database {DATABASE} owner {APP}");
    sqlx::query(AssertSqlSafe(database)).execute(&mut connection).await?;
    connection.close().await
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
