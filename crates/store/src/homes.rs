//! Where memories live. What lives there is not known here.

use protocol::{name::OrgId, scope::Scope};
use sqlx::{Row, postgres::PgRow};

use crate::{error::StoreError, rows::parsed};

/// Where memories live: with the user and project of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Home {
    org_id: OrgId,
    user: String,
    project: String,
}

impl Home {
    /// Where what a scope writes lives.
    pub fn of(scope: &Scope) -> Self {
        let (user, project) = (scope.user_id.as_str().to_owned(), scope.project_key().to_owned());
        Self { org_id: scope.org_id.clone(), user, project }
    }

    /// How long its names are.
    pub fn name_bytes(&self) -> usize {
        self.org_id.as_str().len() + self.user.len() + self.project.len()
    }

    pub(crate) fn org(&self) -> &str {
        self.org_id.as_str()
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    pub(crate) fn from_row(row: &PgRow) -> Result<Self, StoreError> {
        Ok(Self {
            org_id: parsed(row.try_get("org_id")?)?,
            user: row.try_get("user_id")?,
            project: row.try_get("project_id")?,
        })
    }
}
