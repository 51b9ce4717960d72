//! The door to tenant rows: whatever is read or written through it belongs to one scope.
//! The statements stand beside their subjects (`runs`, `events`, `memories`, …).

use protocol::{memory::Visibility, scope::Scope};
use sqlx::{
    Postgres,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use crate::{
    error::StoreError,
    handle::Store,
    homes::Home,
    notifier::Notifier,
    transaction::{Access, Tenant, Transaction},
};

/// The database as one tenant sees it.
#[derive(Clone, Debug)]
pub struct Scoped {
    store: Store,
    scope: Scope,
    /// Where what is written lives.
    home: Home,
}

impl Store {
    /// The database as `scope` sees it.
    pub fn scoped(&self, scope: &Scope) -> Scoped {
        let home = Home::of(scope, Visibility::Scope);
        Scoped { store: self.clone(), scope: scope.clone(), home }
    }
}

impl Scoped {
    /// Whose rows these are.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The same door, to the memories that this many see.
    pub(crate) fn at(&self, visibility: Visibility) -> Self {
        let home = Home::of(&self.scope, visibility);
        Self { home, ..self.clone() }
    }

    /// Who sees what is written.
    pub fn visibility(&self) -> Visibility {
        self.home.visibility()
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

    /// Reads with a function that names its tenant itself: its first three arguments.
    pub(crate) async fn ask(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.store.database.call(query).await
    }

    /// Reads with one statement.
    pub(crate) async fn read(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = query.fetch_all(&mut tx).await?;
        tx.commit().await?;
        Ok(rows)
    }

    pub(crate) fn notifier(&self) -> &Notifier {
        &self.store.notifier
    }

    pub(crate) fn org(&self) -> &str {
        self.home.org()
    }

    pub(crate) fn user(&self) -> &str {
        self.home.user()
    }

    pub(crate) fn project(&self) -> &str {
        self.home.project()
    }
}
