//! The layout below the root: `org-<org>/user-<user>/no-project`, or `…/project-<project>`. The
//! prefixes keep names such as `..` and a missing project apart.

use std::path::{Path, PathBuf};

use protocol::{name::OrgId, scope::Scope};

/// The folder of a scope; it may not be there yet.
pub fn of_scope(root: &Path, scope: &Scope) -> PathBuf {
    root.join(of_org(&scope.org_id)).join(format!("user-{}", scope.user_id)).join(
        scope.project_id.as_ref().map_or("no-project".into(), |name| format!("project-{name}")),
    )
}

/// The name of the folder that holds those of all scopes of an organisation.
pub(crate) fn of_org(org_id: &OrgId) -> String {
    format!("org-{org_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(org: &str, project: Option<&str>) -> Scope {
        Scope {
            org_id: org.parse().unwrap(),
            user_id: "u".parse().unwrap(),
            project_id: project.map(|name| name.parse().unwrap()),
        }
    }

    #[test]
    fn each_scope_has_a_folder_of_its_own_below_the_root() {
        let root = Path::new("/w");
        assert_eq!(of_scope(root, &scope("..", None)), Path::new("/w/org-../user-u/no-project"));
        assert_ne!(
            of_scope(root, &scope("a", None)),
            of_scope(root, &scope("a", Some("no-project")))
        );
    }
}
