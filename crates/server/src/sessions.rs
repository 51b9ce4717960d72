//! Sessions: the conversations of a scope.

use axum::{Json, extract::State};
use protocol::{
    id::RunId,
    name::SessionKey,
    run::{RunPage, SessionPage},
};
use store::runs::RunFilter;

use crate::{app::App, path::InPath, query::Parameters, refusal::Refusal, scope::InScope};

/// Where to read on.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what the handlers read")]
struct ByRun {
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RunId>,
}

/// List sessions
///
/// Most recently used first.
#[utoipa::path(
    get, path = "/api/sessions", tag = "sessions", operation_id = "list_sessions", params(ByRun),
    responses((status = 200, description = "A page of sessions", body = SessionPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    InScope(scope): InScope,
    parameters: Parameters,
) -> Result<Json<SessionPage>, Refusal> {
    let (cursor, limit) = (parameters.parsed("cursor")?, parameters.limit()?);
    let page = app.parts.store.scoped(&scope).list_sessions(cursor, limit).await?;
    Ok(Json(SessionPage { sessions: page.items, next_cursor: page.next_cursor }))
}

/// List the runs of a session
///
/// Newest first. A session that has no run yet has an empty page.
#[utoipa::path(
    get, path = "/api/sessions/{session_key}/runs", tag = "sessions",
    operation_id = "list_session_runs",
    params(("session_key" = inline(SessionKey), Path, description = "The conversation"), ByRun),
    responses(
        (status = 200, description = "A page of runs", body = RunPage),
        (status = 404, description = "`not_found`: the name cannot be a session's"),
    )
)]
pub(crate) async fn runs(
    State(app): State<App>,
    InScope(scope): InScope,
    InPath(session_key): InPath<SessionKey>,
    parameters: Parameters,
) -> Result<Json<RunPage>, Refusal> {
    let filter = RunFilter { session_key: Some(session_key), ..RunFilter::default() };
    let (cursor, limit) = (parameters.parsed("cursor")?, parameters.limit()?);
    let page = app.parts.store.scoped(&scope).list_runs(&filter, cursor, limit).await?;
    Ok(Json(RunPage { runs: page.items, next_cursor: page.next_cursor }))
}
