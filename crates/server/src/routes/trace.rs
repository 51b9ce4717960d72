//! A run as a tree of spans: the index, and what one span took and gave. How spans are made of events
//! is in `spans`.

use axum::{Json, extract::State};
use protocol::{
    id::{RunId, SpanId},
    limits::{SPAN_PART_DEFAULT_BYTES, SPAN_PART_MAX_BYTES, TRACE_LIMIT_DEFAULT, TRACE_LIMIT_MAX},
    trace::{SpanPayload, TracePage},
};
use serde::Deserialize;

use crate::{
    app::App,
    error::ApiError,
    extract::{
        path::{PathParam, PathParams},
        query::{QueryParams, SeqCursor, UpTo},
        scope::RequestScope,
    },
    spans::trace_page,
};

/// Which spans to read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadTrace {
    /// The `next_cursor` of the page before.
    #[serde(default)]
    #[param(inline)]
    cursor: SeqCursor,
    /// Most spans of the page, but for those of one step.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 5000, default = 1000)]
    limit: Option<UpTo<TRACE_LIMIT_MAX>>,
}

/// Get the trace of a run
///
/// Its spans without what they took and gave, whole steps a page. With `next_cursor` null they are made
/// of all events up to `last_seq`: a stream that begins there misses nothing.
#[utoipa::path(
    get, path = "/api/runs/{run_id}/trace", tag = "runs", operation_id = "get_trace",
    params(("run_id" = inline(RunId), Path, description = "The run"), ReadTrace),
    responses(
        (status = 200, description = "A page of spans", body = TracePage),
        (status = 404, description = "`not_found`: no such run in this scope"),
    )
)]
pub(crate) async fn trace(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    PathParam(run_id): PathParam<RunId>,
    QueryParams(query): QueryParams<ReadTrace>,
) -> Result<Json<TracePage>, ApiError> {
    let most = query.limit.map_or(TRACE_LIMIT_DEFAULT, |UpTo(most)| most);
    let outline = app.store.scoped(&scope).outline(run_id, query.cursor.0).await?;
    Ok(Json(trace_page(run_id, &outline, most)))
}

/// Most bytes of a character in UTF-8.
const CHAR_MAX_BYTES: u32 = 4;

/// Which range of a span's payload to read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadSpan {
    /// Where the range of `input` and of `output` begins, in bytes.
    #[param(value_type = Option<u64>, minimum = 0, maximum = 2147483646, default = 0)]
    offset: Option<ByteOffset>,
    /// Most bytes of `input` and of `output`; 4 are read at least, since a character may have as many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1048576, default = 65536)]
    limit: Option<UpTo<SPAN_PART_MAX_BYTES>>,
}

/// A place in a text that the database can have.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
struct ByteOffset(u32);

impl TryFrom<String> for ByteOffset {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        crate::extract::query::decimal(&text)
            .and_then(|offset| u32::try_from(offset).ok())
            .filter(|offset| *offset < i32::MAX.unsigned_abs())
            .map(Self)
            .ok_or("must be a number of bytes, at most 2147483646")
    }
}

/// Get a span of a run
///
/// What it took and gave, each as a text of which a range is answered. Read on from `offset` plus the
/// bytes of `text` while that is less than `size`.
#[utoipa::path(
    get, path = "/api/runs/{run_id}/spans/{span_id}", tag = "runs", operation_id = "get_span",
    params(
        ("run_id" = inline(RunId), Path, description = "The run"),
        ("span_id" = inline(SpanId), Path, description = "The span, as the trace names it"),
        ReadSpan
    ),
    responses(
        (status = 200, description = "What the span took and gave", body = SpanPayload),
        (status = 404, description = "`not_found`: no such run in this scope, or no such span in it"),
    )
)]
pub(crate) async fn span(
    State(app): State<App>,
    RequestScope(scope): RequestScope,
    PathParams(run_id, span_id): PathParams<RunId, SpanId>,
    QueryParams(query): QueryParams<ReadSpan>,
) -> Result<Json<SpanPayload>, ApiError> {
    let ByteOffset(offset) = query.offset.unwrap_or_default();
    let most = query.limit.map_or(SPAN_PART_DEFAULT_BYTES, |UpTo(most)| most.max(CHAR_MAX_BYTES));
    let scoped = app.store.scoped(&scope);
    Ok(Json(scoped.span_payload(run_id, span_id, offset.into(), most).await?))
}
