//! `/api/sessions`: the conversations of a scope, and the runs of one.

use axum::{Json, extract::State};
use protocol::{
    id::RunId,
    name::SessionKey,
    run::{RunPage, SessionPage},
};
use serde::Deserialize;
use store::run_lists::RunFilter;

use crate::{
    app::App,
    error::ApiError,
    extract::{
        path::PathParam,
        query::{LimitParam, QueryParams},
        scope::RequestScope,
    },
};

/// Which page to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ByRun {
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
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
    RequestScope(scope): RequestScope,
    QueryParams(query): QueryParams<ByRun>,
) -> Result<Json<SessionPage>, ApiError> {
    let page = app.store.scoped(&scope).list_sessions(query.cursor, query.limit.0).await?;
    Ok(Json(SessionPage { sessions: page.items, next_cursor: page.next_cursor }))
}

/// List the runs of a session
///
/// Newest first. A session without runs has an empty page.
#[utoipa::path(
    get, path = "/api/sessions/{session_key}/runs", tag = "sessions",
    operation_id = "list_session_runs",
    params(("session_key" = inline(SessionKey), Path, description = "The conversation"), ByRun),
    responses(
        (status = 200, description = "A page of runs", body = RunPage),
        (status = 404, description = "`not_found`: the name is not a valid session key"),
    )
)]
pub(crate) async fn runs(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    PathParam(session_key): PathParam<SessionKey>,
    QueryParams(query): QueryParams<ByRun>,
) -> Result<Json<RunPage>, ApiError> {
    let filter = RunFilter { session_key: Some(session_key), ..RunFilter::default() };
    let page = app.store.scoped(&scope).list_runs(&filter, query.cursor, query.limit.0).await?;
    Ok(Json(RunPage { runs: page.items, next_cursor: page.next_cursor }))
}
