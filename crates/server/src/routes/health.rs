//! Health and metrics: for people, for orchestrators, for Prometheus. None of it needs a scope.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use protocol::error::UnavailableReason;
use serde::Serialize;
use store::error::StoreError;
use tokio::time::timeout;

use crate::{
    app::App,
    error::ApiError,
    limits::{HEALTH_TIMEOUT, RETRY_AFTER_S},
};

/// Health of the whole system.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    status: HealthStatus,
    /// The version of the server.
    version: &'static str,
    database: DatabaseHealth,
    /// The queue; null while the database does not answer.
    queue: Option<QueueHealth>,
    /// The workers that are alive, on all nodes; null while the database does not answer.
    workers: Option<WorkersHealth>,
}

/// Health in one word.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum HealthStatus {
    /// Runs are accepted and executed.
    Ok,
    /// No worker is alive, or the database answers but refuses work.
    Degraded,
    /// The database does not answer.
    Unavailable,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct DatabaseHealth {
    /// Whether it answers and works.
    ok: bool,
    /// Its version; null while it does not answer.
    version: Option<String>,
    /// Why it refuses work, if it told this server so within the last minute.
    reason: Option<UnavailableReason>,
}

/// The queue, over all tenants.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct QueueHealth {
    /// Runs that wait for a worker.
    ready: u64,
    /// Runs that a worker holds.
    leased: u64,
}

/// The workers that are alive.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct WorkersHealth {
    /// Nodes with a worker.
    nodes: u64,
    /// Runs that they can execute at once.
    capacity: u64,
    /// Runs that they execute now.
    running: u64,
}

/// The answer to a probe.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProbeStatus {
    /// Always `ok`; an error says otherwise.
    status: &'static str,
}

/// Check health
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "health",
    responses(
        (status = 200, description = "The database answers", body = Health),
        (status = 503, description = "The database does not answer", body = Health),
    )
)]
pub(crate) async fn health(State(app): State<App>) -> Response {
    match timeout(HEALTH_TIMEOUT, look(&app)).await {
        Ok(Ok(health)) => Json(health).into_response(),
        Ok(Err(_)) | Err(_) => {
            let health = Health {
                status: HealthStatus::Unavailable,
                version: app.version,
                database: DatabaseHealth {
                    ok: false,
                    version: None,
                    reason: app.database_reason.recent(),
                },
                queue: None,
                workers: None,
            };
            let retry = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))];
            (StatusCode::SERVICE_UNAVAILABLE, retry, Json(health)).into_response()
        }
    }
}

/// Check liveness
#[utoipa::path(
    get, path = "/health/live", tag = "operations", operation_id = "health_live",
    responses((status = 200, description = "The process answers", body = ProbeStatus))
)]
pub(crate) async fn live() -> Json<ProbeStatus> {
    Json(ProbeStatus { status: "ok" })
}

/// Check readiness
#[utoipa::path(
    get, path = "/health/ready", tag = "operations", operation_id = "health_ready",
    responses(
        (status = 200, description = "The database answers", body = ProbeStatus),
        (status = 503, description = "`unavailable`: the database does not answer"),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<ProbeStatus>, ApiError> {
    timeout(HEALTH_TIMEOUT, app.store.server_version())
        .await
        .map_err(|_| ApiError::unavailable("the database does not answer"))??;
    Ok(Json(ProbeStatus { status: "ok" }))
}

/// Get metrics
///
/// Counters, gauges and histograms of this process, in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "Prometheus text", body = String,
        content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, TYPE)], (app.metrics)()).into_response()
}

async fn look(app: &App) -> Result<Health, StoreError> {
    let store = &app.store;
    let version = store.server_version().await?;
    let queue = store.queue_depth().await?;
    let workers = store.workers().await?;
    let reason = app.database_reason.recent();
    let is_whole = workers.nodes > 0 && reason.is_none();
    Ok(Health {
        status: if is_whole { HealthStatus::Ok } else { HealthStatus::Degraded },
        version: app.version,
        database: DatabaseHealth { ok: reason.is_none(), version: Some(version), reason },
        queue: Some(QueueHealth { ready: queue.ready, leased: queue.leased }),
        workers: Some(WorkersHealth {
            nodes: workers.nodes,
            capacity: workers.capacity,
            running: workers.running,
        }),
    })
}
