//! The door to tenant rows: everything that is read or written through it belongs to one scope. The
//! statements are with their subjects (`runs`, `events`, `memories`, …).

use protocol::scope::Scope;
use sqlx::{
    Postgres,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use crate::{
    error::StoreError,
    handle::Store,
    notifier::Notifier,
    transaction::{Access, Tenant, Transaction},
};

/// The database as one tenant sees it.
#[derive(Clone, Debug)]
pub struct Scoped {
    store: Store,
    scope: Scope,
}

impl Store {
    /// The database as `scope` sees it.
    pub fn scoped(&self, scope: &Scope) -> Scoped {
        Scoped { store: self.clone(), scope: scope.clone() }
    }
}

impl Scoped {
    /// Whose rows these are.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// A transaction in which this tenant's rows are there, and no other's.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        self.store.database.begin(Tenant::Scope(&self.scope)).await
    }

    /// A transaction for several reads of this tenant's rows, all as of one moment.
    pub(crate) async fn snapshot(&self) -> Result<Transaction, StoreError> {
        self.store.database.open(Access::Snapshot, Tenant::Scope(&self.scope)).await
    }

    /// Calls a function that names its tenant itself: its first three arguments.
    pub(crate) async fn call(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.store.database.call_for(self.org(), query).await
    }

    /// Reads with one statement. A statement that writes fails.
    pub(crate) async fn read(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut tx = self.store.database.open(Access::Read, Tenant::Scope(&self.scope)).await?;
        let rows = query.fetch_all(&mut tx).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Writes with one statement.
    pub(crate) async fn write(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        query.execute(&mut tx).await?;
        tx.commit().await
    }

    pub(crate) fn notifier(&self) -> &Notifier {
        &self.store.notifier
    }

    pub(crate) fn org(&self) -> &str {
        self.scope.org_id.as_str()
    }

    pub(crate) fn user(&self) -> &str {
        self.scope.user_id.as_str()
    }

    pub(crate) fn project(&self) -> &str {
        self.scope.project_key()
    }
}
