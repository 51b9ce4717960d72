//! Health and metrics: for people, for orchestrators, for Prometheus. None of it needs a scope.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use store::error::StoreError;
use tokio::time::timeout;

use crate::{
    app::App,
    error::ApiError,
    limits::{HEALTH_TIMEOUT, RETRY_AFTER_S},
};

/// How the system is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    status: HealthStatus,
    /// The version of the server.
    version: &'static str,
    database: DatabaseHealth,
    /// How full the queue is; null while the database is away.
    queue: Option<QueueHealth>,
    /// The workers that are alive, on all nodes; null while the database is away.
    workers: Option<WorkersHealth>,
}

/// How the system is, in a word.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum HealthStatus {
    /// Runs are accepted and executed.
    Ok,
    /// Runs are accepted, but no worker is alive.
    Degraded,
    /// The database does not answer.
    Unavailable,
}

/// The database.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct DatabaseHealth {
    /// It answers.
    ok: bool,
    /// Its version; null while it is away.
    version: Option<String>,
}

/// How full the queue is, over all tenants.
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
    /// How many nodes work.
    nodes: u64,
    /// Most runs that they work on at once.
    capacity: u64,
    /// Runs that they work on.
    running: u64,
}

/// What a probe reads.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProbeStatus {
    /// Always `ok`; an error says otherwise.
    status: &'static str,
}

/// How the system is
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "health",
    responses(
        (status = 200, description = "The database answers", body = Health),
        (status = 503, description = "The database is away", body = Health),
    )
)]
pub(crate) async fn health(State(app): State<App>) -> Response {
    match timeout(HEALTH_TIMEOUT, look(&app)).await {
        Ok(Ok(health)) => Json(health).into_response(),
        Ok(Err(_)) | Err(_) => {
            let health = Health {
                status: HealthStatus::Unavailable,
                version: app.version,
                database: DatabaseHealth { ok: false, version: None },
                queue: None,
                workers: None,
            };
            let retry = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))];
            (StatusCode::SERVICE_UNAVAILABLE, retry, Json(health)).into_response()
        }
    }
}

/// Is the process alive
#[utoipa::path(
    get, path = "/health/live", tag = "operations", operation_id = "health_live",
    responses((status = 200, description = "It is", body = ProbeStatus))
)]
pub(crate) async fn live() -> Json<ProbeStatus> {
    Json(ProbeStatus { status: "ok" })
}

/// Can the process serve
#[utoipa::path(
    get, path = "/health/ready", tag = "operations", operation_id = "health_ready",
    responses(
        (status = 200, description = "The database answers", body = ProbeStatus),
        (status = 503, description = "`unavailable`: the database is away"),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<ProbeStatus>, ApiError> {
    timeout(HEALTH_TIMEOUT, app.store.server_version())
        .await
        .map_err(|_| ApiError::unavailable("the database does not answer"))??;
    Ok(Json(ProbeStatus { status: "ok" }))
}

/// Metrics
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
    Ok(Health {
        status: if workers.nodes == 0 { HealthStatus::Degraded } else { HealthStatus::Ok },
        version: app.version,
        database: DatabaseHealth { ok: true, version: Some(version) },
        queue: Some(QueueHealth { ready: queue.ready, leased: queue.leased }),
        workers: Some(WorkersHealth {
            nodes: workers.nodes,
            capacity: workers.capacity,
            running: workers.running,
        }),
    })
}
