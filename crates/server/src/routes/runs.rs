//! `/api/runs`: create, list, get, read events, cancel. Streams are in `stream`.

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
    limits::{IDEMPOTENCY_KEY_MAX_BYTES, RUN_QUERY_MAX_CHARS},
    message::canonical_json,
    name::{AgentId, SessionKey},
    run::{
        CreateRun, LlmConfig, Run, RunCancelled, RunCreated, RunPage, RunStatus, RunSummary,
        UnknownRunStatus,
    },
    scope::Scope,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{run_lists::RunFilter, runs::IdempotencyKey, scoped::Scoped};

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        body::{ScopedEmpty, ScopedJson},
        path::PathParam,
        query::{LimitParam, QueryParams, SeqCursor, decimal},
        scope::RequestScope,
    },
    routes::audit,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Create a run
///
/// The run is durable when this answers. Follow it at `/api/runs/{run_id}/stream`.
#[utoipa::path(
    post, path = "/api/runs", tag = "runs", operation_id = "create_run",
    request_body = CreateRun,
    responses(
        (status = 201, description = "The run is in the queue", body = RunCreated),
        (status = 409, description = "`conflict`: the session is busy, and `if_busy` is `reject`"),
        (status = 422, description = "`idempotency_mismatch`: the key was used with another body"),
        (status = 429, description = "`quota_exceeded`: too many runs wait in the queue, or the \
         workspaces of the organisation hold too much"),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    principal: Principal,
    asked: ScopedJson<CreateRun>,
) -> Result<Response, ApiError> {
    asked.body.check().map_err(ApiError::invalid)?;
    check_agent(&app, &asked.body.agent_id)?;
    check_model(&app, asked.body.llm_config.as_ref(), &asked.body.agent_id)?;
    let key = idempotency_key(&headers, "/api/runs", &asked)?;
    let scoped = app.store.scoped(&asked.scope);
    let actor = creator(&app, &principal, &asked.scope);
    let by = actor.as_deref();
    let (created, replayed) = match (replayed_if_full(&app, &scoped, key.as_ref()).await?, key) {
        (Some(earlier), _) => (earlier, true),
        (None, Some(key)) => scoped.create_run_once(&asked.body, by, &key).await?,
        (None, None) => (scoped.create_run(&asked.body, by).await?, false),
    };
    Ok(accepted(created, replayed))
}

/// By whom a run is created, for the audit. The run itself says when and for whom.
pub(crate) fn creator(app: &App, principal: &Principal, scope: &Scope) -> Option<String> {
    app.authenticator.is_on().then(|| principal.actor_or(scope.user_id.as_str()))
}

/// Where the workspaces of the organisation are full no run is created, and one that an earlier request
/// with the key created is there all the same.
pub(crate) async fn replayed_if_full(
    app: &App,
    scoped: &Scoped,
    key: Option<&IdempotencyKey>,
) -> Result<Option<RunCreated>, ApiError> {
    let Err(over) = app.workspaces.check(&scoped.scope().org_id).await else { return Ok(None) };
    let earlier = match key {
        Some(key) => scoped.find_run_once(key).await?,
        None => None,
    };
    Ok(Some(earlier.ok_or(over)?))
}

/// 201, for a run that was created now or by an earlier request with the same key.
pub(crate) fn accepted(run: impl Serialize, replayed: bool) -> Response {
    let mut response = (StatusCode::CREATED, Json(run)).into_response();
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    } else {
        metrics::counter!("openintern_runs_created_total").increment(1);
    }
    response
}

/// Which runs to list; what is left out is any.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichRuns {
    /// Only those with this status; several are separated by commas.
    #[serde(default)]
    #[param(
        value_type = Option<String>, example = "failed",
        pattern = "^(pending|running|waiting|completed|failed|cancelled)(,(pending|running|waiting|completed|failed|cancelled))*$"
    )]
    status: Statuses,
    /// Only those of this conversation.
    #[param(inline)]
    session_key: Option<SessionKey>,
    /// Only those of this agent.
    #[param(inline)]
    agent_id: Option<AgentId>,
    /// Only forks of this run.
    #[param(inline)]
    parent_run_id: Option<RunId>,
    /// Only those with this text in the first 4,096 characters of their input, whatever its case.
    #[param(value_type = Option<String>, min_length = 1, max_length = 256)]
    q: Option<SearchText>,
    /// Only those that were accepted at this time or later.
    #[param(inline)]
    since: Option<Timestamp>,
    /// Only those that were accepted before this time.
    #[param(inline)]
    until: Option<Timestamp>,
    /// Only those that cost so much, in US dollars.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1000000000)]
    min_cost_usd: Option<Dollars>,
    /// Only those that cost no more, in US dollars.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1000000000)]
    max_cost_usd: Option<Dollars>,
    /// Only those that have ended and took so long, in milliseconds.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9223372036854775807i64)]
    min_duration_ms: Option<Milliseconds>,
    /// Only those that have ended and took no longer, in milliseconds.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 9223372036854775807i64)]
    max_duration_ms: Option<Milliseconds>,
}

impl WhichRuns {
    fn filter(self) -> RunFilter {
        RunFilter {
            statuses: self.status.0,
            session_key: self.session_key,
            agent_id: self.agent_id,
            parent: self.parent_run_id,
            text: self.q.map(|SearchText(text)| text),
            since: self.since,
            until: self.until,
            min_cost_usd: self.min_cost_usd.map(|Dollars(usd)| usd),
            max_cost_usd: self.max_cost_usd.map(|Dollars(usd)| usd),
            min_duration_ms: self.min_duration_ms.map(|Milliseconds(ms)| ms),
            max_duration_ms: self.max_duration_ms.map(|Milliseconds(ms)| ms),
        }
    }
}

/// Statuses of runs; none means all.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct Statuses(Vec<RunStatus>);

impl TryFrom<String> for Statuses {
    type Error = UnknownRunStatus;

    fn try_from(list: String) -> Result<Self, UnknownRunStatus> {
        list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A text to look for.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct SearchText(String);

impl TryFrom<String> for SearchText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let chars = text.chars().count();
        match (1..=RUN_QUERY_MAX_CHARS).contains(&chars) {
            true => Ok(Self(text)),
            false => Err(format!("must be 1 to {RUN_QUERY_MAX_CHARS} characters")),
        }
    }
}

/// An amount of money.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Dollars(f64);

impl TryFrom<String> for Dollars {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let usd = text.parse().ok().filter(|usd| (0.0..=1e9).contains(usd));
        usd.map(Self).ok_or("must be 0 to 1000000000")
    }
}

/// A length of time.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Milliseconds(u64);

impl TryFrom<String> for Milliseconds {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        decimal(&text).map(Self).ok_or("must be a number of milliseconds")
    }
}

/// Which page to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageOfRuns {
    /// Most rows of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
    /// The `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RunId>,
}

/// List runs
///
/// Newest first. A page is made of 5,000 runs at most: it may be short, or empty, and yet not the last.
#[utoipa::path(
    get, path = "/api/runs", tag = "runs", operation_id = "list_runs",
    params(WhichRuns, PageOfRuns),
    responses((status = 200, description = "A page of runs", body = RunPage))
)]
pub(crate) async fn list(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    QueryParams(which): QueryParams<WhichRuns>,
    QueryParams(page): QueryParams<PageOfRuns>,
) -> Result<Json<RunPage>, ApiError> {
    let scoped = app.store.scoped(&scope);
    let page = scoped.list_runs(&which.filter(), page.cursor, page.limit.0).await?;
    Ok(Json(RunPage { runs: page.items, next_cursor: page.next_cursor }))
}

/// Sum up runs
///
/// What the runs of a list come to together, of the newest 20,000.
#[utoipa::path(
    get, path = "/api/runs/summary", tag = "runs", operation_id = "summarise_runs",
    params(WhichRuns),
    responses((status = 200, description = "Counts and sums", body = RunSummary))
)]
pub(crate) async fn summary(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    QueryParams(which): QueryParams<WhichRuns>,
) -> Result<Json<RunSummary>, ApiError> {
    Ok(Json(app.store.scoped(&scope).summarise_runs(&which.filter()).await?))
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
    RequestScope(scope): RequestScope,
    PathParam(run_id): PathParam<RunId>,
) -> Result<Json<Run>, ApiError> {
    Ok(Json(app.store.scoped(&scope).get_run(run_id).await?))
}

/// Which events to read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListEvents {
    /// The `seq` of the last event seen; 0 for none.
    #[serde(default)]
    #[param(inline)]
    cursor: SeqCursor,
    /// Most events of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
    /// Only events of this type; several are separated by commas.
    #[serde(default)]
    #[param(
        value_type = Option<String>,
        example = "llm.called",
        pattern = "^(run\\.(started|resumed|warning|completed|failed|cancelled)|context\\.compacted|step\\.(started|completed)|memory\\.recalled|llm\\.called|tool\\.(called|result))(,(run\\.(started|resumed|warning|completed|failed|cancelled)|context\\.compacted|step\\.(started|completed)|memory\\.recalled|llm\\.called|tool\\.(called|result)))*$"
    )]
    r#type: EventTypes,
}

/// Names of event types; none means all.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct EventTypes(Vec<String>);

impl TryFrom<String> for EventTypes {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        let names: Vec<_> = list.split(',').map(str::to_owned).collect();
        match names.iter().find(|name| !TYPE_NAMES.contains(&name.as_str())) {
            None => Ok(Self(names)),
            Some(name) => Err(format!(
                "has `{name}`, which is not an event type; use one of `{}`",
                TYPE_NAMES.join("`, `")
            )),
        }
    }
}

/// A page of events as they are stored: the JSON of [`EventPage`].
#[derive(Serialize)]
pub(crate) struct StoredEventPage {
    events: Vec<StoredEvent>,
    total: usize,
    next_cursor: Option<String>,
}

/// List the events of a run
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
    RequestScope(scope): RequestScope,
    PathParam(run_id): PathParam<RunId>,
    QueryParams(query): QueryParams<ListEvents>,
) -> Result<Json<StoredEventPage>, ApiError> {
    let ListEvents { cursor, limit, r#type: types } = query;
    let scoped = app.store.scoped(&scope);
    let page = scoped.list_events(run_id, cursor.0, limit.0, &types.0).await?;
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
        (status = 200, description = "The run is cancelled, or will be", body = RunCancelled),
        (status = 404, description = "`not_found`: no such run in this scope"),
        (status = 409, description = "`run_already_finished`"),
    )
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    principal: Principal,
    PathParam(run_id): PathParam<RunId>,
    ScopedEmpty(scope): ScopedEmpty,
) -> Result<Json<RunCancelled>, ApiError> {
    let scoped = app.store.scoped(&scope);
    let cancelled = scoped.cancel_run(run_id, scope.user_id.as_str(), None).await?;
    audit::record(&app, &principal, &scope, AuditAction::RunCancelled, run_id).await;
    Ok(Json(cancelled))
}

pub(crate) fn check_agent(app: &App, agent_id: &AgentId) -> Result<(), ApiError> {
    if app.agents.iter().any(|agent| agent.agent_id == *agent_id) {
        return Ok(());
    }
    Err(ApiError::field("/agent_id", "is not the id of an agent")
        .hint("`GET /api/agents` lists them"))
}

pub(crate) fn check_model(
    app: &App,
    named: Option<&LlmConfig>,
    agent_id: &AgentId,
) -> Result<(), ApiError> {
    match named.and_then(|config| (app.model_fault)(config, agent_id)) {
        None => Ok(()),
        Some(fault) => Err(ApiError::field("/llm_config/model", fault)),
    }
}

/// The key of a request that may be sent again, with the hash of all that makes it the same.
pub(crate) fn idempotency_key<T>(
    headers: &HeaderMap,
    path: &str,
    asked: &ScopedJson<T>,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()))
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        .filter(|_| values.all(|other| other == value))
        .ok_or_else(|| {
            ApiError::field(
                "idempotency-key",
                format!("must be 1 to {IDEMPOTENCY_KEY_MAX_BYTES} visible ASCII characters, once"),
            )
        })?;
    let digest = Sha256::new()
        .chain_update(format!("POST\n{path}\n"))
        .chain_update(asked.scope.to_string())
        .chain_update("\n")
        .chain_update(canonical_json(&asked.raw))
        .finalize();
    Ok(Some(IdempotencyKey { key: key.to_owned(), request_hash: digest.into() }))
}
