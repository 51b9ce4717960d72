//! A run as it happens: server-sent events (WHATWG HTML, section 9.2).
//!
//! One task a stream takes the page after its cursor, sends it, and sleeps until a bell rings:
//! catching up and following are the same loop. `stream_pages` reads the pages and shares them between
//! followers; `stream_out` sends them. Streams of several runs are in `streams`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, StatusCode};
use protocol::id::RunId;
use serde::Deserialize;
use store::{notifier::Subscription, scoped::Scoped, stream::StreamCursor};

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        path::PathParam,
        query::{BoolParam, QueryParams, decimal},
        scope::RequestScope,
    },
    stream_out::{StreamOut, StreamOver, open_stream},
    stream_pages::{FrameForm, SharedPage, StreamPages},
    waiting_bytes::BytesOwner,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const NOT_A_FRAME_ID: &str = "must be the id of a frame, `<seq>` or `<seq>.<n>`";

/// Where to begin in the stream, and what to leave out.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FollowRun {
    /// The id of the last frame seen, `<seq>` or `<seq>.<n>`; 0 for none. `Last-Event-ID` wins.
    #[serde(default)]
    #[param(inline)]
    cursor: FrameId,
    /// `false` leaves out the text of the model as it comes. `true` when absent.
    #[param(inline)]
    deltas: Option<BoolParam>,
}

/// The id of a frame, `<seq>` or `<seq>.<n>`.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[0-9]{1,18}(\\.[0-9]{1,18})?$")]
pub(crate) struct FrameId(pub(crate) StreamCursor);

impl TryFrom<String> for FrameId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(NOT_A_FRAME_ID)
    }
}

impl FrameId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (seq, n) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(StreamCursor { seq: decimal(seq)?, n: decimal(n)? }))
    }
}

/// One frame of the stream, as its fields are named there.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "documents what `stream_pages` writes")]
pub(crate) struct StreamFrame {
    /// `<seq>` of an event, `<seq>.<n>` of text between two events; where the stream is of several
    /// runs, `<run_id>:` stands before it.
    #[schema(pattern = "^(run_[0-9a-z]{26}:)?[0-9]+(\\.[0-9]+)?$", example = "3.12")]
    id: String,
    /// The event's `type`, `llm.delta` or `llm.reset`; of a scope, `run`.
    #[schema(example = "llm.delta")]
    event: String,
    /// JSON on one line: an `Event`, an `LlmDelta`, an `LlmReset`, or of a scope a `RunNews`.
    data: String,
}

/// Follow a run
///
/// Server-sent events: everything after the cursor, then live, until the run has ended.
/// `EventSource` cannot set headers, so `org_id`, `user_id` and `project_id` may stand in the query.
#[utoipa::path(
    get, path = "/api/runs/{run_id}/stream", tag = "runs", operation_id = "follow_run",
    params(
        ("run_id" = inline(RunId), Path, description = "The run"),
        ("Last-Event-ID" = inline(Option<FrameId>), Header, description = "The id of the last frame seen"),
        FollowRun
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = StreamFrame,
         description = "Frames, each as its schema says, until the run has ended"),
        (status = 204, description = "The run has ended and nothing follows the cursor"),
        (status = 404, description = "`not_found`: no such run in this scope"),
        (status = 429, description = "`quota_exceeded`: the server, the organisation or the credential has too many \
                       streams open, or too much waits for followers that do not read"),
    )
)]
pub(crate) async fn follow(
    State(app): State<App>,
    headers: HeaderMap,
    principal: Principal,
    RequestScope(scope): RequestScope,
    PathParam(run_id): PathParam<RunId>,
    QueryParams(query): QueryParams<FollowRun>,
) -> Result<Response, ApiError> {
    // The header is newer, since the browser sends it; the parameter must be valid all the same.
    let FrameId(cursor) = last_event_id(&headers)?.unwrap_or(query.cursor);
    let with_deltas = query.deltas.is_none_or(|BoolParam(deltas)| deltas);
    let scoped = app.store.scoped(&scope);
    let bell = scoped.watch_run(run_id); // Before the first read, so that no event is missed.
    let slot = app.streams.acquire(&scope.org_id, principal.holder(), &app.settings)?;
    let owner =
        BytesOwner { org_id: Some(scope.org_id.clone()), holder: principal.holder().cloned() };
    let form = FrameForm { with_deltas, ids_name_run: false };
    let first = app.pages.read(&scoped, run_id, cursor, form, &owner).await?;
    if first.ended && first.bytes.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let writer = RunWriter { pages: app.pages.clone(), scoped, run_id, cursor, form, owner, bell };
    Ok(open_stream(&app, principal, slot, |out| writer.run(out, first)))
}

/// What `EventSource` sends when it reconnects.
fn last_event_id(headers: &HeaderMap) -> Result<Option<FrameId>, ApiError> {
    last_id(headers, FrameId::parse, NOT_A_FRAME_ID)
}

/// The id of the last frame seen, if there is one; `words` say what it must be.
pub(crate) fn last_id<T>(
    headers: &HeaderMap,
    parse: impl Fn(&str) -> Option<T>,
    words: &'static str,
) -> Result<Option<T>, ApiError> {
    let mut ids = headers.get_all(&LAST_EVENT_ID).iter();
    let Some(id) = ids.next() else { return Ok(None) };
    id.to_str()
        .ok()
        .filter(|_| ids.all(|other| other == id))
        .and_then(parse)
        .map(Some)
        .ok_or_else(|| ApiError::field("last-event-id", words))
}

struct RunWriter {
    pages: StreamPages,
    scoped: Scoped,
    run_id: RunId,
    cursor: StreamCursor,
    form: FrameForm,
    owner: BytesOwner,
    bell: Subscription,
}

impl RunWriter {
    /// Sends everything until the run has ended.
    async fn run(mut self, mut out: StreamOut, first: SharedPage) -> Result<(), StreamOver> {
        out.begin().await?;
        let mut page = first;
        loop {
            out.send_pieces(page.bytes.clone()).await?;
            self.cursor = page.next;
            let (ended, more) = (page.ended, page.more);
            drop(page); // Its bytes must not count while we wait.
            if ended {
                return Ok(());
            }
            if !more {
                out.wait(self.bell.woken()).await?;
            }
            page = self.read(&mut out).await?;
        }
    }

    async fn read(&self, out: &mut StreamOut) -> Result<SharedPage, StreamOver> {
        loop {
            let pages = &self.pages;
            let page = pages.read(&self.scoped, self.run_id, self.cursor, self.form, &self.owner);
            match page.await {
                Ok(page) => {
                    out.database_is_back();
                    return Ok(page);
                }
                Err(error) => out.outlast(&error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_frame_id() {
        let at = |seq, n| Some(StreamCursor { seq, n });
        let parse = |text: &str| FrameId::parse(text).map(|FrameId(cursor)| cursor);
        assert_eq!(parse("0"), at(0, 0));
        assert_eq!(parse("7"), at(7, 0));
        assert_eq!(parse("7.12"), at(7, 12));
        for text in ["", "abc", "-1", "1.", ".1", "1.2.3", "1 ", "1\0", "9223372036854775808"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
