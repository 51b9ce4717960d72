//! `/api/audit`, and the writing down of what was done to runs. Keys are written down where they are
//! made and revoked, in the same commit.

use axum::{Json, extract::State};
use protocol::{
    audit::{AuditAction, AuditPage},
    id::{AuditId, RunId},
    name::OrgId,
    scope::Scope,
};
use store::audit::NewRecord;

use crate::{app::App, identity::Caller, query::Parameters, refusal::Refusal, scope::InScope};

/// Where to read on.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `list` reads")]
struct ListAudit {
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<AuditId>,
}

/// Read the audit
///
/// Who did what in the organisation, newest first: runs cancelled, keys made and revoked, and, where
/// callers are known, runs created.
#[utoipa::path(
    get, path = "/api/audit", tag = "administration", operation_id = "list_audit",
    params(ListAudit),
    responses((status = 200, description = "A page of records", body = AuditPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    InScope(org_id): InScope<OrgId>,
    parameters: Parameters,
) -> Result<Json<AuditPage>, Refusal> {
    let (cursor, limit) = (parameters.parsed("cursor")?, parameters.limit()?);
    let page = app.parts.store.list_audit(&org_id, cursor, limit).await?;
    Ok(Json(AuditPage { records: page.items, next_cursor: page.next_cursor }))
}

/// Writes down what was done to a run. It is done: that it cannot be written down is for our log.
pub(crate) async fn note(
    app: &App,
    caller: &Caller,
    scope: &Scope,
    action: AuditAction,
    run_id: RunId,
) {
    let actor = caller.actor_or(scope.user_id.as_str());
    let record = NewRecord::of_run(actor, action, scope, run_id);
    if let Err(error) = app.parts.store.append_audit(&scope.org_id, &record).await {
        let (actor, error) = (&record.actor, error.to_string());
        tracing::error!(%run_id, %action, actor, error, "this is missing in the audit");
    }
}
