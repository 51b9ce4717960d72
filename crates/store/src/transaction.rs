//! Transactions: the only way to a tenant's rows. What is in force in one (the role, the tenant, the
//! timeouts) is said by the statement that opens it and ends with it, so that a connection carries
//! nothing from one tenant to the next, whether the pool is ours or PgBouncer's.

use std::time::Duration;

use futures::{
    StreamExt,
    future::{BoxFuture, ready},
    stream::{BoxStream, once},
};
use protocol::{name::OrgId, scope::Scope};
use sqlx::{
    Describe, Either, Error, Execute, Executor, PgPool, Postgres, SqlStr,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use crate::{
    error::StoreError,
    held_connection::{HeldConnection, answered, bounded},
    homes::Home,
    places::{Place, Places},
};

/// The role that policies are written for.
pub(crate) const APP_ROLE: &str = "openintern_app";

/// How transactions are opened on this database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Whether the login has more rights than [`APP_ROLE`]: then each transaction switches to that role.
    pub(crate) assumes_role: bool,
    /// A pooler stands between: it refuses start-up options, and statements have no names, since
    /// the next transaction may meet another server process.
    pub(crate) timeouts: Option<Timeouts>,
}

/// What PostgreSQL ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// A statement that takes longer is a defect or an overload.
    pub(crate) statement: Duration,
    /// Longest wait for a lock that another session holds.
    pub(crate) lock: Duration,
    /// A transaction that sits idle.
    pub(crate) idle: Duration,
}

impl Timeouts {
    /// As settings of a session of ours, in which no plan is compiled either: PostgreSQL 15 to 17
    /// would compile some for longer than they run, for what they cost only by nodes that are
    /// switched off.
    pub(crate) fn settings(self) -> [(&'static str, String); 4] {
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        [
            ("statement_timeout", ms(self.statement)),
            ("lock_timeout", ms(self.lock)),
            ("idle_in_transaction_session_timeout", ms(self.idle)),
            ("jit", "off".to_owned()),
        ]
    }
}

impl Opening {
    /// Nothing has to be said: a single statement needs no transaction around it.
    fn is_plain(&self) -> bool {
        !self.assumes_role && self.timeouts.is_none()
    }

    fn statement(&self, access: Access, tenant: Tenant<'_>) -> String {
        let mut words = String::from(match access {
            Access::Write => "begin",
            Access::Read => "begin read only",
            // Many read at once: none should take the processors of the others. What has an order
            // is read in that of the index that is made for it. For the other two settings see the
            // head of `functions/tenancy.sql`.
            Access::Snapshot => {
                "begin isolation level repeatable read, read only; \
                 set local max_parallel_workers_per_gather = 0; \
                 set local plan_cache_mode = force_generic_plan; \
                 set local enable_seqscan = off; \
                 set local enable_sort = off"
            }
        });
        if let Some(timeouts) = self.timeouts {
            for (name, value) in timeouts.settings() {
                words.push_str(&format!("; set local {name} = '{value}'"));
            }
        }
        if self.assumes_role {
            words.push_str(&format!("; set local role {APP_ROLE}"));
        }
        // What names a tenant has no quotes in its alphabet (see `protocol::name`).
        match tenant {
            Tenant::None => {}
            Tenant::Org(org) => words.push_str(&format!("; set local openintern.org_id = '{org}'")),
            Tenant::Scope(scope) => words.push_str(&names(
                scope.org_id.as_str(),
                scope.user_id.as_str(),
                scope.project_key(),
            )),
            Tenant::Home(home) => {
                words.push_str(&names(home.org(), home.user(), home.project()));
            }
        }
        words
    }
}

fn names(org: &str, user: &str, project: &str) -> String {
    format!(
        "; set local openintern.org_id = '{org}'; set local openintern.user_id = '{user}'; \
         set local openintern.project_id = '{project}'"
    )
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads and writes, each statement as things are by then.
    Write,
    Read,
    /// Several reads, all as of one moment.
    Snapshot,
}

/// Whose rows a transaction reaches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tenant<'a> {
    /// No tenant: the statement belongs to no organisation.
    None,
    /// What belongs to an organisation as a whole.
    Org(&'a OrgId),
    /// What belongs to a user and project, too.
    Scope(&'a Scope),
    /// The memories that live in one place.
    Home(&'a Home),
}

impl<'a> Tenant<'a> {
    fn org(self) -> Option<&'a str> {
        match self {
            Self::None => None,
            Self::Org(org) => Some(org.as_str()),
            Self::Scope(scope) => Some(scope.org_id.as_str()),
            Self::Home(home) => Some(home.org()),
        }
    }
}

/// The connections to the database, how transactions are opened on them, and whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    pub(crate) opening: Opening,
    pub(crate) places: Places,
}

/// An open transaction. It is undone unless it is committed.
#[derive(Debug)]
pub(crate) struct Transaction {
    connection: HeldConnection,
    unnamed: bool,
}

impl Transaction {
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        Ok(self.connection.commit().await?)
    }
}

impl Database {
    /// A transaction in which this tenant's rows are there, and no other's.
    pub(crate) async fn begin(&self, tenant: Tenant<'_>) -> Result<Transaction, StoreError> {
        self.open(Access::Write, tenant).await
    }

    /// Like [`Self::begin`], for what is said of the transaction besides.
    pub(crate) async fn open(
        &self,
        access: Access,
        tenant: Tenant<'_>,
    ) -> Result<Transaction, StoreError> {
        let place = match tenant.org() {
            None => None,
            Some(org) => Some(self.places.take(org).await?),
        };
        self.open_in(place, access, tenant).await
    }

    async fn open_in(
        &self,
        place: Option<Place>,
        access: Access,
        tenant: Tenant<'_>,
    ) -> Result<Transaction, StoreError> {
        let mut connection = HeldConnection::take(&self.pool, place).await?;
        connection.begin(self.opening.statement(access, tenant)).await?;
        Ok(Transaction { connection, unnamed: self.opening.timeouts.is_some() })
    }

    /// Runs one statement of an organisation, which names its tenant itself (see
    /// `functions/tenancy.sql`): in one round trip where nothing has to be said first.
    pub(crate) async fn call_for(
        &self,
        org: &str,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let place = self.places.take(org).await?;
        self.call_in(Some(place), query).await
    }

    /// Like [`Self::call_for`], for a statement that always answers one row.
    pub(crate) async fn call_one_for(
        &self,
        org: &str,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<PgRow, StoreError> {
        one_of(self.call_for(org, query).await?)
    }

    /// Runs one statement that belongs to no organisation.
    pub(crate) async fn call(
        &self,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.call_in(None, query).await
    }

    async fn call_in(
        &self,
        place: Option<Place>,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        if self.opening.is_plain() {
            let mut held = HeldConnection::take(&self.pool, place).await?;
            let (connection, owes) = held.parts()?;
            // `Executor` returns a box: a future by itself is moved into each one that waits for it.
            return Ok(answered(owes, Executor::fetch_all(connection, query)).await?);
        }
        Box::pin(self.call_in_transaction(place, query)).await
    }

    async fn call_in_transaction(
        &self,
        place: Option<Place>,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut tx = self.open_in(place, Access::Write, Tenant::None).await?;
        let rows = query.fetch_all(&mut tx).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Like [`Self::call`], for a statement that always answers one row.
    pub(crate) async fn call_one(
        &self,
        query: sqlx::query::Query<'_, Postgres, PgArguments>,
    ) -> Result<PgRow, StoreError> {
        one_of(self.call(query).await?)
    }
}

fn one_of(mut rows: Vec<PgRow>) -> Result<PgRow, StoreError> {
    rows.pop().ok_or(StoreError::Database(Error::RowNotFound))
}

impl<'c> Executor<'c> for &'c mut Transaction {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Spoken { query, unnamed: self.unnamed };
        match self.connection.parts() {
            Ok((connection, owes)) => bounded(Executor::fetch_many(connection, query), owes),
            Err(error) => once(ready(Err(error))).boxed(),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Spoken { query, unnamed: self.unnamed };
        Box::pin(async move {
            let (connection, owes) = self.connection.parts()?;
            answered(owes, Executor::fetch_optional(connection, query)).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let (connection, owes) = self.connection.parts()?;
            answered(owes, Executor::prepare_with(connection, sql, parameters)).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let (connection, owes) = self.connection.parts()?;
            answered(owes, Executor::describe(connection, sql)).await
        })
    }
}

/// A statement, with a name only where the connection is ours alone.
struct Spoken<E> {
    query: E,
    unnamed: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Spoken<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, sqlx::error::BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        !self.unnamed && self.query.persistent()
    }
}
