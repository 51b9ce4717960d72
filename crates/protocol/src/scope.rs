//! The scope: whose data a request is about. Organisation, user and, where there is one, project.

use serde::{Deserialize, Serialize};

use crate::name::{OrgId, ProjectId, UserId};

/// The tenant of a request. Matching is exact: a request without a project sees no project's data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The organisation.
    pub org_id: OrgId,
    /// The user.
    pub user_id: UserId,
    /// The project, if the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
}

impl Scope {
    /// The project as the database keeps it: the empty string stands for none.
    pub fn project_key(&self) -> &str {
        self.project_id.as_ref().map_or("", ProjectId::as_str)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.org_id, self.user_id)?;
        self.project_id.as_ref().map_or(Ok(()), |project| write!(f, "/{project}"))
    }
}
