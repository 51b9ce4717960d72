//! What operators see: what runs used, and the queue.

use axum::{Json, extract::State};
use protocol::usage::{QueueStanding, UsageReport};

use crate::{app::App, error::ApiError, extract::scope::RequestScope};

/// What runs used
///
/// Tokens and money of the scope's runs of the last 30 days, by day (UTC) and model.
#[utoipa::path(
    get, path = "/api/usage", tag = "runs", operation_id = "usage",
    responses((status = 200, description = "By day and model", body = UsageReport))
)]
pub(crate) async fn usage(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
) -> Result<Json<UsageReport>, ApiError> {
    Ok(Json(app.store.scoped(&scope).usage().await?))
}

/// The queue
///
/// How many runs of the whole organisation wait and are worked on.
#[utoipa::path(
    get, path = "/api/queue", tag = "runs", operation_id = "queue",
    responses((status = 200, description = "How the queue stands", body = QueueStanding))
)]
pub(crate) async fn queue(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
) -> Result<Json<QueueStanding>, ApiError> {
    Ok(Json(app.store.queue_standing(&scope.org_id).await?))
}
