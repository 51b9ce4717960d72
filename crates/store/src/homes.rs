//! Homes: where memories live, and which scopes see them. What lives there is not known here.

use protocol::{memory::Visibility, name::OrgId, scope::Scope};
use sqlx::{Row, postgres::PgRow};

use crate::{error::StoreError, rows::get_parsed};

/// Stands for all users, or all projects of a user: no name can be that (see `protocol::name`).
const ALL: &str = "*";

/// Where memories live: with the user and project of a scope, with a user in all projects, or with
/// an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Home {
    org_id: OrgId,
    user: String,
    project: String,
}

impl Home {
    /// Where what a scope writes for this many lives.
    pub fn of(scope: &Scope, visibility: Visibility) -> Self {
        let (user, project) = match visibility {
            Visibility::Scope => (scope.user_id.as_str(), scope.project_key()),
            Visibility::User => (scope.user_id.as_str(), ALL),
            Visibility::Org => (ALL, ALL),
        };
        Self { org_id: scope.org_id.clone(), user: user.to_owned(), project: project.to_owned() }
    }

    /// Who sees what lives here.
    pub fn visibility(&self) -> Visibility {
        match (self.user.as_str(), self.project.as_str()) {
            (ALL, _) => Visibility::Org,
            (_, ALL) => Visibility::User,
            _ => Visibility::Scope,
        }
    }

    /// The scope whose own home this is; none where several see what lives here.
    pub fn scope(&self) -> Option<Scope> {
        let project = Some(self.project.as_str()).filter(|project| !project.is_empty());
        Some(Scope {
            org_id: self.org_id.clone(),
            user_id: self.user.parse().ok()?, // `*` is not a name.
            project_id: project.map(str::parse).transpose().ok()?,
        })
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
            org_id: get_parsed(row, "org_id")?,
            user: row.try_get("user_id")?,
            project: row.try_get("project_id")?,
        })
    }
}

/// The homes that a scope sees, as columns.
pub(crate) struct Seen {
    pub(crate) users: Vec<String>,
    pub(crate) projects: Vec<String>,
}

impl<'a> FromIterator<&'a Home> for Seen {
    fn from_iter<I: IntoIterator<Item = &'a Home>>(homes: I) -> Self {
        let names = |home: &Home| (home.user.clone(), home.project.clone());
        let (users, projects) = homes.into_iter().map(names).unzip();
        Self { users, projects }
    }
}
