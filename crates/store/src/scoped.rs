//! The door to tenant rows: whatever is read or written through it belongs to one scope.
//! The statements stand beside their subjects (`runs`, `events`, `memories`, …).

use protocol::scope::Scope;
use sqlx::PgPool;

use crate::{Store, notifier::Notifier};

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

    pub(crate) fn pool(&self) -> &PgPool {
        &self.store.pool
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
