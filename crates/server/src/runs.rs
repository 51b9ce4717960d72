//! Runs: create, list, get, read events, cancel.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::{
    audit::AuditAction,
    event::{EventPage, StoredEvent, TYPE_NAMES},
    id::RunId,
    limits::IDEMPOTENCY_KEY_MAX_BYTES,
    message::canonical_json,
    name::{AgentId, SessionKey},
    run::{CreateRun, Run, RunCancelled, RunCreated, RunPage, RunStatus},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::runs::{IdempotencyKey, RunFilter};

use crate::{
    app::App,
    audit,
    body::{Asked, MayAsk},
    identity::Caller,
    path::InPath,
    query::{Parameters, decimal},
    refusal::Refusal,
    scope::InScope,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request that may be sent again.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "documents what `create` reads")]
struct OnceOnly {
    /// Send the request again with the same key: it creates one run.
    #[param(rename = "Idempotency-Key", value_type = String, required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]{1,255}$"
    )]
    idempotency_key: Option<String>,
}

/// Create a run
///
/// The run is durable when this answers. Follow it at `/api/runs/{run_id}/stream`.
#[utoipa::path(
    post, path = "/api/runs", tag = "runs", operation_id = "create_run",
    request_body = CreateRun,
    params(OnceOnly),
    responses(
        (status = 201, description = "The run is in the queue", body = RunCreated,
         headers(("Idempotency-Replayed" = String,
             description = "`true` if the key had created the run before"))),
        (status = 409, description = "`conflict`: the session is busy, and `if_busy` is `reject`"),
        (status = 422, description = "`idempotency_mismatch`: the key came with another body"),
        (status = 429, description = "`quota_exceeded`: too many runs wait in the queue, or the \
         workspaces of the organisation hold too much"),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    caller: Caller,
    asked: Asked<CreateRun>,
) -> Result<Response, Refusal> {
    asked.body.check().map_err(Refusal::invalid)?;
    check_agent(&app, &asked.body.agent_id)?;
    let key = idempotency_key(&headers, &asked)?;
    let mut scoped = app.parts.store.scoped(&asked.scope);
    // The run itself says when and for whom; where callers are known, the audit says by whom.
    if app.parts.identity.is_on() {
        scoped = scoped.audited_as(caller.actor_or(asked.scope.user_id.as_str()));
    }
    let (created, replayed) = match (app.workspaces.check(&asked.scope.org_id).await, key) {
        (Ok(()), Some(key)) => scoped.create_run_once(&asked.body, &key).await?,
        (Ok(()), None) => (scoped.create_run(&asked.body).await?, false),
        // What was created before is no new run.
        (Err(over), Some(key)) => (scoped.find_run_once(&key).await?.ok_or(over)?, true),
        (Err(over), None) => return Err(over.into()),
    };
    let mut response = (StatusCode::CREATED, Json(created)).into_response();
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        return Ok(response);
    }
    metrics::counter!("runs_created_total").increment(1);
    Ok(response)
}

/// Which runs to list.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `list` reads")]
struct ListRuns {
    /// Only those that stand here.
    #[param(inline)]
    status: Option<RunStatus>,
    /// Only those of this conversation.
    #[param(inline)]
    session_key: Option<SessionKey>,
    /// Only those of this agent.
    #[param(inline)]
    agent_id: Option<AgentId>,
    /// Most rows of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RunId>,
}

/// List runs
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/runs", tag = "runs", operation_id = "list_runs", params(ListRuns),
    responses((status = 200, description = "A page of runs", body = RunPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    InScope(scope): InScope,
    parameters: Parameters,
) -> Result<Json<RunPage>, Refusal> {
    let filter = RunFilter {
        status: parameters.parsed("status")?,
        session_key: parameters.parsed("session_key")?,
        agent_id: parameters.parsed("agent_id")?,
    };
    let (cursor, limit) = (parameters.parsed("cursor")?, parameters.limit()?);
    let page = app.parts.store.scoped(&scope).list_runs(&filter, cursor, limit).await?;
    Ok(Json(RunPage { runs: page.items, next_cursor: page.next_cursor }))
}

/// Get a run
#[utoipa::path(
    get, path = "/api/runs/{run_id}", tag = "runs", operation_id = "get_run",
    params(("run_id" = inline(RunId), Path, description = "The run")),
    responses(
        (status = 200, description = "The run, whole", body = Run),
        (status = 404, description = "`not_found`: no such run in this scope"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    InScope(scope): InScope,
    InPath(run_id): InPath<RunId>,
) -> Result<Json<Run>, Refusal> {
    Ok(Json(app.parts.store.scoped(&scope).get_run(run_id).await?))
}

/// Which events to read.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "documents what `events` reads")]
struct ListEvents {
    /// The `seq` of the last event seen; 0 for none.
    #[param(minimum = 0, maximum = 9223372036854775807i64, default = 0)]
    cursor: Option<u64>,
    /// Most events of the page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// Only events of this type; several are separated by commas.
    #[param(
        example = "llm.called",
        pattern = "^(run\\.(started|resumed|warning|completed|failed|cancelled)|step\\.(started|completed)|memory\\.recalled|llm\\.called|tool\\.(called|result))$"
    )]
    r#type: Option<String>,
}

/// A page of events as they are stored: the JSON of [`EventPage`].
#[derive(Serialize)]
pub(crate) struct StoredEventPage {
    events: Vec<StoredEvent>,
    total: usize,
    next_cursor: Option<String>,
}

/// Read a run's events
///
/// The same JSON as in the stream, a page at a time, in the order of `seq`.
#[utoipa::path(
    get, path = "/api/runs/{run_id}/events", tag = "runs", operation_id = "list_events",
    params(("run_id" = inline(RunId), Path, description = "The run"), ListEvents),
    responses(
        (status = 200, description = "A page of events", body = EventPage),
        (status = 404, description = "`not_found`: no such run in this scope"),
    )
)]
pub(crate) async fn events(
    State(app): State<App>,
    InScope(scope): InScope,
    InPath(run_id): InPath<RunId>,
    parameters: Parameters,
) -> Result<Json<StoredEventPage>, Refusal> {
    let cursor = match parameters.text("cursor")? {
        None => 0,
        Some(text) => decimal(text)
            .ok_or_else(|| Refusal::field("cursor", "must be the `seq` of an event, or 0"))?,
    };
    let types = event_types(&parameters)?;
    let limit = parameters.limit()?;
    let page = app.parts.store.scoped(&scope).list_events(run_id, cursor, limit, &types).await?;
    Ok(Json(StoredEventPage {
        total: page.items.len(),
        events: page.items,
        next_cursor: page.next_cursor,
    }))
}

/// Cancel a run
///
/// A run that no worker holds is cancelled at once, a running one as soon as its worker has
/// stopped. The body may be absent.
#[utoipa::path(
    post, path = "/api/runs/{run_id}/cancel", tag = "runs", operation_id = "cancel_run",
    params(("run_id" = inline(RunId), Path, description = "The run")),
    responses(
        (status = 200, description = "The run ends, or has ended", body = RunCancelled),
        (status = 404, description = "`not_found`: no such run in this scope"),
        (status = 409, description = "`run_already_finished`"),
    )
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    InPath(run_id): InPath<RunId>,
    MayAsk(scope): MayAsk,
) -> Result<Json<RunCancelled>, Refusal> {
    let scoped = app.parts.store.scoped(&scope);
    let cancelled = scoped.cancel_run(run_id, scope.user_id.as_str(), None).await?;
    audit::note(&app, &caller, &scope, AuditAction::RunCancelled, run_id).await;
    Ok(Json(cancelled))
}

fn check_agent(app: &App, agent_id: &AgentId) -> Result<(), Refusal> {
    if app.parts.agents.iter().any(|agent| agent.agent_id == *agent_id) {
        return Ok(());
    }
    Err(Refusal::field("/agent_id", "names no agent (hint: `GET /api/agents` lists them)"))
}

fn event_types(parameters: &Parameters) -> Result<Vec<String>, Refusal> {
    let Some(list) = parameters.text("type")? else { return Ok(Vec::new()) };
    let types: Vec<_> = list.split(',').map(str::to_owned).collect();
    if types.iter().all(|name| TYPE_NAMES.contains(&name.as_str())) {
        return Ok(types);
    }
    Err(Refusal::field("type", format!("must be one of `{}`", TYPE_NAMES.join(" "))))
}

/// The key of a request that may be sent again, with the hash of all that makes it the same.
fn idempotency_key(
    headers: &HeaderMap,
    asked: &Asked<CreateRun>,
) -> Result<Option<IdempotencyKey>, Refusal> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()))
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        .filter(|_| values.all(|other| other == value))
        .ok_or_else(|| {
            Refusal::field(
                "idempotency-key",
                format!("must be 1 to {IDEMPOTENCY_KEY_MAX_BYTES} visible ASCII characters, once"),
            )
        })?;
    let digest = Sha256::new()
        .chain_update("POST\n/api/runs\n")
        .chain_update(asked.scope.to_string())
        .chain_update("\n")
        .chain_update(canonical_json(&asked.raw))
        .finalize();
    Ok(Some(IdempotencyKey { key: key.to_owned(), request_hash: digest.into() }))
}
