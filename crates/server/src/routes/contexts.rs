//! `/api/runs/{run_id}/context/{step}`: what a model was sent.

use axum::{Json, extract::State};
use protocol::{context::StepContext, id::RunId};
use serde::Deserialize;

use crate::{
    app::App,
    error::ApiError,
    extract::{
        path::PathParams,
        query::{BoolParam, QueryParams, decimal},
        scope::RequestScope,
    },
};

/// How much to answer.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadContext {
    /// With `true`, the words of the prompt as well.
    #[param(inline)]
    text: Option<BoolParam>,
}

/// Get what a model was sent
///
/// What the prompt of a step's model call was made of, as it was sent: what has changed since does not
/// change it.
#[utoipa::path(
    get, path = "/api/runs/{run_id}/context/{step}", tag = "runs", operation_id = "get_context",
    params(
        ("run_id" = inline(RunId), Path, description = "The run"),
        ("step" = u32, Path, description = "The step, from 1", minimum = 1, maximum = 2147483647),
        ReadContext
    ),
    responses(
        (status = 200, description = "The parts of the prompt", body = StepContext),
        (status = 404, description = "`not_found`: no such run in this scope, or no model has answered \
         in this step, or it is kept no longer"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    PathParams(run_id, step): PathParams<RunId, Step>,
    QueryParams(query): QueryParams<ReadContext>,
) -> Result<Json<StepContext>, ApiError> {
    let with_text = query.text.is_some_and(|text| text.0);
    let scoped = app.store.scoped(&scope);
    Ok(Json(scoped.step_context(run_id, step.0, with_text, &*app.mask).await?))
}

/// The number of a step, as the database can hold it.
pub(crate) struct Step(u32);

impl std::str::FromStr for Step {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let step = decimal(text).and_then(|step| i32::try_from(step).ok());
        step.filter(|step| *step > 0).map(|step| Self(step.unsigned_abs())).ok_or(())
    }
}
