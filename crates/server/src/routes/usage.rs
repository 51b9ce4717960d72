//! `/api/usage` and `/api/queue`: what operators look at.

use axum::{Json, extract::State};
use protocol::usage::{QueueStanding, UsageReport};

use crate::{app::App, error::ApiError, extract::scope::RequestScope};

/// Get usage
///
/// Tokens and money of the scope's runs of the last 30 days, by day (UTC) and model.
#[utoipa::path(
    get, path = "/api/usage", tag = "runs", operation_id = "usage",
    responses((status = 200, description = "Usage by day and model", body = UsageReport))
)]
pub(crate) async fn usage(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
) -> Result<Json<UsageReport>, ApiError> {
    Ok(Json(app.store.scoped(&scope).usage().await?))
}

/// Get the state of the queue
///
/// How many runs of the whole organisation wait, and how many are executed.
#[utoipa::path(
    get, path = "/api/queue", tag = "runs", operation_id = "queue",
    responses((status = 200, description = "The state of the queue", body = QueueStanding))
)]
pub(crate) async fn queue(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
) -> Result<Json<QueueStanding>, ApiError> {
    Ok(Json(app.store.queue_standing(&scope.org_id).await?))
}
