//! Checkpoints of a run, and new runs that go on from one.

use axum::{Json, extract::State, response::Response};
use http::HeaderMap;
use protocol::{
    id::RunId,
    run::{CheckpointPage, ForkRun, RunForked},
};
use serde::Deserialize;
use store::{forks::ForkError, scoped::Scoped};

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        body::ScopedJson,
        path::PathParam,
        query::{LimitParam, QueryParams, decimal},
        scope::RequestScope,
    },
    routes::runs::{
        accepted, check_agent, check_model, creator, idempotency_key, replayed_if_full,
    },
};

/// Which checkpoints to read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListCheckpoints {
    /// The last step seen; 0 for none.
    #[serde(default)]
    #[param(inline)]
    cursor: StepCursor,
    /// Most checkpoints of the page.
    #[serde(default)]
    #[param(inline)]
    limit: LimitParam,
}

/// A step, or 0.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = u32, minimum = 0, maximum = 2147483647, default = 0)]
struct StepCursor(u32);

impl TryFrom<String> for StepCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let step = decimal(&text).and_then(|step| i32::try_from(step).ok());
        step.map(|step| Self(step.unsigned_abs())).ok_or("must be the number of a step, or 0")
    }
}

/// List the checkpoints of a run
///
/// One for each completed step: what the run can be resumed and forked from.
#[utoipa::path(
    get, path = "/api/runs/{run_id}/checkpoints", tag = "runs", operation_id = "list_checkpoints",
    params(("run_id" = inline(RunId), Path, description = "The run"), ListCheckpoints),
    responses(
        (status = 200, description = "A page of checkpoints", body = CheckpointPage),
        (status = 404, description = "`not_found`: no such run in this scope"),
    )
)]
pub(crate) async fn checkpoints(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    PathParam(run_id): PathParam<RunId>,
    QueryParams(query): QueryParams<ListCheckpoints>,
) -> Result<Json<CheckpointPage>, ApiError> {
    let scoped = app.store.scoped(&scope);
    let page = scoped.list_checkpoints(run_id, query.cursor.0, query.limit.0).await?;
    Ok(Json(CheckpointPage { checkpoints: page.items, next_cursor: page.next_cursor }))
}

/// Fork a run
///
/// A new run that takes over the steps up to `from_step` and goes on behind them: they are not done
/// again, and their tools are not called again. It stands in the session of its parent.
#[utoipa::path(
    post, path = "/api/runs/{run_id}/fork", tag = "runs", operation_id = "fork_run",
    request_body = ForkRun,
    params(("run_id" = inline(RunId), Path, description = "The run to fork, whatever its status")),
    responses(
        (status = 201, description = "The new run is in the queue", body = RunForked),
        (status = 404, description = "`not_found`: no such run in this scope"),
        (status = 422, description = "`idempotency_mismatch`: the key was used with another body"),
        (status = 429, description = "`quota_exceeded`: too many runs wait in the queue, or the \
         workspaces of the organisation hold too much"),
    )
)]
pub(crate) async fn fork(
    State(app): State<App>,
    headers: HeaderMap,
    principal: Principal,
    PathParam(parent_run_id): PathParam<RunId>,
    asked: ScopedJson<ForkRun>,
) -> Result<Response, ApiError> {
    let mut body = asked.body.clone();
    body.check().map_err(ApiError::invalid)?;
    if let Some(agent_id) = &body.agent_id {
        check_agent(&app, agent_id)?;
    }
    check_model(&app, body.llm_config.as_ref(), &body.agent_id.clone().unwrap_or_default())?;
    let key = idempotency_key(&headers, &format!("/api/runs/{parent_run_id}/fork"), &asked)?;
    let scoped = app.store.scoped(&asked.scope);
    keep_format(&app, &scoped, parent_run_id, &mut body).await?;
    let actor = creator(&app, &principal, &asked.scope);
    let by = actor.as_deref();
    let made = match (replayed_if_full(&app, &scoped, key.as_ref()).await?, key) {
        (Some(earlier), _) => Ok((earlier, true)),
        (None, Some(key)) => scoped.fork_run_once(parent_run_id, &body, by, &key).await,
        (None, None) => scoped.fork_run(parent_run_id, &body, by).await.map(|run| (run, false)),
    };
    let (created, replayed) = made.map_err(|error| refusal(error, body.from_step))?;
    let forked = RunForked {
        run_id: created.run_id,
        status: created.status,
        created_at: created.created_at,
        parent_run_id,
        forked_from_step: body.from_step,
    };
    Ok(accepted(forked, replayed))
}

/// A fork that another agent goes on with keeps the schema of its parent's agent, which is not kept with
/// the parent.
async fn keep_format(
    app: &App,
    scoped: &Scoped,
    parent: RunId,
    fork: &mut ForkRun,
) -> Result<(), ApiError> {
    if fork.agent_id.is_none() || fork.response_format.is_some() {
        return Ok(());
    }
    let parent = scoped.get_run(parent).await?;
    if parent.response_format.is_none() {
        let agent = app.agents.iter().find(|agent| agent.agent_id == parent.agent_id);
        fork.response_format = agent.and_then(|agent| agent.response_format.clone());
    }
    Ok(())
}

fn refusal(error: ForkError, step: u32) -> ApiError {
    match error {
        ForkError::NoCheckpoint => {
            ApiError::field("/from_step", format!("step {step} has no checkpoint"))
                .hint("`GET /api/runs/{run_id}/checkpoints` lists the steps that have one")
        }
        ForkError::Answered => ApiError::field(
            "/input",
            format!("is needed: step {step} gave the answer, and nothing follows it"),
        )
        .hint("say something new, or fork from an earlier step"),
        ForkError::Store(error) => error.into(),
    }
}
