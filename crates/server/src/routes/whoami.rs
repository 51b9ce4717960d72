//! `/api/whoami`: what a credential is good for, so that a client shows what it can do.

use axum::{Json, extract::State};
use protocol::{
    key::{Right, Rights},
    name::{OrgId, ProjectId, UserId},
};
use serde::Serialize;

use crate::{app::App, auth::principal::Principal};

/// What a credential is good for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct WhoAmI {
    /// Whether a credential proves who asks; false with `auth = "none"`.
    authenticated: bool,
    /// The organisation that the credential is for; null where a request names it.
    org_id: Option<OrgId>,
    /// The user that the credential is for; null where a request names one.
    user_id: Option<UserId>,
    /// The project that the credential is for; null where a request may name one.
    project_id: Option<ProjectId>,
    /// All that it may do. `admin` comes with every other right.
    rights: Rights,
}

/// Say who asks
///
/// What the credential fixes of the scope, and its rights. It needs no right and no scope.
#[utoipa::path(
    get, path = "/api/whoami", tag = "identity", operation_id = "whoami",
    responses(
        (status = 200, description = "Who asks", body = WhoAmI),
        (status = 401, description = "`unauthorized`: there is no valid credential"),
        (status = 429, description = "`rate_limited`: too many requests or invalid credentials in a short time"),
    )
)]
pub(crate) async fn whoami(State(app): State<App>, principal: Principal) -> Json<WhoAmI> {
    Json(WhoAmI {
        authenticated: app.authenticator.is_on(),
        org_id: principal.bounds.org_id.clone(),
        user_id: principal.bounds.user_id.clone(),
        project_id: principal.bounds.project_id.clone(),
        rights: Right::ALL
            .into_iter()
            .filter(|right| principal.allows(*right))
            .map(Rights::from)
            .collect(),
    })
}
