//! `/api/audit`, and recording what was done to runs. Changes of keys are recorded by `store`, in the
//! same commit.

use axum::{Json, extract::State};
use protocol::{
    audit::{AuditAction, AuditPage},
    id::{AuditId, RunId},
    name::OrgId,
    scope::Scope,
};
use serde::Deserialize;
use store::audit::NewRecord;

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        query::{LimitParam, QueryParams},
        scope::RequestScope,
    },
};

/// Which records to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAudit {
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<AuditId>,
}

/// List audit records
///
/// Who did what in the organisation, newest first: runs cancelled, keys created and revoked and, with
/// authentication, runs created.
#[utoipa::path(
    get, path = "/api/audit", tag = "administration", operation_id = "list_audit",
    params(ListAudit),
    responses((status = 200, description = "A page of records", body = AuditPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    RequestScope(org_id): RequestScope<OrgId>,
    QueryParams(query): QueryParams<ListAudit>,
) -> Result<Json<AuditPage>, ApiError> {
    let page = app.store.list_audit(&org_id, query.cursor, query.limit.0).await?;
    Ok(Json(AuditPage { records: page.items, next_cursor: page.next_cursor }))
}

/// Records what was done to a run. It is done already, so a failure to record it only goes to the log.
pub(crate) async fn record(
    app: &App,
    principal: &Principal,
    scope: &Scope,
    action: AuditAction,
    run_id: RunId,
) {
    let actor = principal.actor_or(scope.user_id.as_str());
    let record = NewRecord::of_run(actor, action, scope, run_id);
    if let Err(error) = app.store.append_audit(&scope.org_id, &record).await {
        let (actor, error) = (&record.actor, error.to_string());
        tracing::error!(%run_id, %action, actor, error, "an action is missing in the audit");
    }
}
