//! The check at the start that the database itself keeps tenants apart. It looks at the role that is
//! in force inside a tenant's transaction, and at every table that has an `org_id`.

use sqlx::{PgConnection, Row};

use crate::{
    error::StoreError,
    transaction::{APP_ROLE, Database, Tenant},
};

/// Tables that have a user and still belong to the whole organisation: its queue is counted as one, and
/// the holder of a credential is found before the scope is known.
const ORG_WIDE: &[&str] = &["queue", "api_keys", "logins"];

const ROLE_HINT: &str = "let DATABASE_URL log in as a member of `openintern_app` and of nothing \
     else, or as the role that migrated";
const TABLE_HINT: &str = "mend the table: `openintern doctor` names each, and \
     docs/operations.md the statements";

/// Why a database is not served.
#[derive(Debug)]
pub(crate) enum TenancyError {
    /// It would show one tenant's rows to another.
    Open { found: String, hint: &'static str },
    /// It does not answer.
    Store(StoreError),
}

impl From<StoreError> for TenancyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for TenancyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Whether a login would have to step down before it may touch tenant rows.
pub(crate) async fn is_more_than_app(
    connection: &mut PgConnection,
    login: &str,
) -> Result<bool, TenancyError> {
    let row = sqlx::query(
        "select rolsuper or rolbypassrls
                or pg_has_role(rolname, 'openintern_scheduler', 'usage')
                or exists (select from pg_class c
                           where c.oid = to_regclass('runs')
                             and pg_has_role(rolname, c.relowner, 'usage'))
         from pg_roles where rolname = $1",
    )
    .bind(login)
    .fetch_optional(connection)
    .await?;
    // A pooler may know the login under another name: then the check decides.
    Ok(row.map_or(Ok(false), |row| row.try_get(0))?)
}

/// Refuses a database that would show one tenant's rows to another.
pub(crate) async fn check(database: &Database) -> Result<(), TenancyError> {
    let mut tx = database.begin(Tenant::None).await.map_err(refused)?;
    let role = sqlx::query(
        "select rolname::text, rolsuper or rolbypassrls
                or pg_has_role(rolname, 'openintern_scheduler', 'usage')
         from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut tx)
    .await?;
    if role.try_get::<bool, _>(1)? {
        let name: String = role.try_get(0)?;
        return Err(TenancyError::Open {
            found: format!("the role `{name}` is bound by no policy"),
            hint: ROLE_HINT,
        });
    }
    let faults = open_tables(&mut tx).await?;
    tx.commit().await?;
    match faults.as_slice() {
        [] => Ok(()),
        faults => Err(TenancyError::Open { found: faults.join("; "), hint: TABLE_HINT }),
    }
}

/// What is wrong with the tables that have an `org_id`, one sentence a fault.
pub(crate) async fn open_tables<'c, E>(connection: E) -> Result<Vec<String>, sqlx::Error>
where
    E: sqlx::Executor<'c, Database = sqlx::Postgres>,
{
    sqlx::query_scalar(
        "with tables as (
             select c.oid, c.relname::text as name, c.relrowsecurity, c.relforcerowsecurity,
                    c.relowner,
                    exists (select from pg_attribute a
                            where a.attrelid = c.oid and a.attname = 'user_id'
                              and not a.attisdropped) and c.relname <> all ($1) as has_user
             from pg_class c
             where c.relnamespace = (select relnamespace from pg_class
                                     where oid = to_regclass('runs'))
               and c.relkind in ('r', 'p')
               and exists (select from pg_attribute a
                           where a.attrelid = c.oid and a.attname = 'org_id' and not a.attisdropped)
         ), policies as (
             select polrelid, polname::text as name, polpermissive,
                    pg_get_expr(polqual, polrelid) as condition
             from pg_policy
             where polroles = array[0::oid]
                or (select oid from pg_roles where rolname = $2) = any (polroles)
         )
         select format('table `%s` ', t.name) || fault
         from tables t
         cross join lateral (
             select 'has no row-level security' where not t.relrowsecurity
             union all
             select 'does not force row-level security' where not t.relforcerowsecurity
             union all
             select 'belongs to the role that asks' where pg_has_role(t.relowner, 'usage')
             union all
             select 'lacks the policy `tenant`' where not exists (
                 select from policies p
                 where p.polrelid = t.oid and p.name = 'tenant' and p.polpermissive
                   and p.condition like '%openintern.org_id%')
             union all
             select 'lacks the policy `scope`' where t.has_user and not exists (
                 select from policies p
                 where p.polrelid = t.oid and p.name = 'scope' and not p.polpermissive
                   and p.condition like '%openintern.user_id%')
             union all
             select format('has the policy `%s`, which is not ours', p.name)
             from policies p
             where p.polrelid = t.oid and p.polpermissive and p.name <> 'tenant'
         ) as faults (fault)
         order by 1",
    )
    .bind(ORG_WIDE)
    .bind(APP_ROLE)
    .fetch_all(connection)
    .await
}

fn refused(error: StoreError) -> TenancyError {
    match error {
        StoreError::Database(cause) => TenancyError::Open {
            found: format!("the login cannot act as `{APP_ROLE}`: {cause}"),
            hint: ROLE_HINT,
        },
        other => TenancyError::Store(other),
    }
}
