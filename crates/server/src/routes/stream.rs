//! A run as it happens: server-sent events (WHATWG HTML, section 9.2).
//!
//! One task a stream takes the page after its cursor, sends it, and sleeps until a bell rings:
//! catching up and following are the same loop. It writes into a bounded channel, so that a follower
//! who does not read is noticed, and slows nobody else. `stream_pages` reads the pages and shares
//! them between followers.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use protocol::id::RunId;
use serde::Deserialize;
use store::{
    error::StoreError, failpoint, notifier::Subscription, scoped::Scoped, stream::StreamCursor,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    app::App,
    auth::principal::Principal,
    error::ApiError,
    extract::{
        path::PathParam,
        query::{BoolParam, QueryParams, decimal},
        scope::RequestScope,
    },
    limits::{
        STREAM_CHUNK_BYTES, STREAM_CHUNKS_WAITING, STREAM_OUTAGE_MAX, STREAM_POLL, STREAM_RETRY_MS,
    },
    open_streams::StreamSlot,
    settings::ServerSettings,
    stream_pages::{PageError, SharedPage, StreamPage, StreamPages},
    waiting_bytes::BytesOwner,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const NOT_A_FRAME_ID: &str = "must be the id of a frame, `<seq>` or `<seq>.<n>`";
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

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
struct FrameId(StreamCursor);

impl TryFrom<String> for FrameId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(NOT_A_FRAME_ID)
    }
}

impl FrameId {
    fn parse(text: &str) -> Option<Self> {
        let (seq, n) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(StreamCursor { seq: decimal(seq)?, n: decimal(n)? }))
    }
}

/// One frame of the stream, as its fields are named there.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "documents what `stream_pages` writes")]
struct StreamFrame {
    /// `<seq>` of an event, `<seq>.<n>` of text between two events.
    #[schema(pattern = "^[0-9]+(\\.[0-9]+)?$", example = "3.12")]
    id: String,
    /// The event's `type`, `llm.delta` or `llm.reset`.
    #[schema(example = "llm.delta")]
    event: String,
    /// JSON on one line: an `Event`, an `LlmDelta` or an `LlmReset`.
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
    let first = app.pages.read(&scoped, run_id, cursor, with_deltas, &owner).await?;
    if first.ended && first.bytes.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (sender, chunks) = mpsc::channel(STREAM_CHUNKS_WAITING);
    let writer = StreamWriter {
        pages: app.pages.clone(),
        scoped,
        run_id,
        cursor,
        with_deltas,
        owner,
        bell,
        sender,
        settings: app.settings.clone(),
        last_sent: Instant::now(),
        away_since: None,
        _slot: slot,
    };
    let shutdown = app.shutdown.clone().cancelled_owned();
    let authenticator = app.authenticator.clone();
    app.tasks.spawn(
        async move {
            tokio::select! {
                () = shutdown => {}
                () = authenticator.lost(&principal) => {}
                () = writer.run(first) => {}
            }
        }
        .in_current_span(),
    );
    Ok(answer(chunks))
}

fn answer(chunks: mpsc::Receiver<Bytes>) -> Response {
    let body = unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), chunks))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// What `EventSource` sends when it reconnects.
fn last_event_id(headers: &HeaderMap) -> Result<Option<FrameId>, ApiError> {
    let mut ids = headers.get_all(&LAST_EVENT_ID).iter();
    let Some(id) = ids.next() else { return Ok(None) };
    id.to_str()
        .ok()
        .filter(|_| ids.all(|other| other == id))
        .and_then(FrameId::parse)
        .map(Some)
        .ok_or_else(|| ApiError::field("last-event-id", NOT_A_FRAME_ID))
}

struct StreamWriter {
    pages: StreamPages,
    scoped: Scoped,
    run_id: RunId,
    cursor: StreamCursor,
    with_deltas: bool,
    owner: BytesOwner,
    bell: Subscription,
    sender: mpsc::Sender<Bytes>,
    settings: ServerSettings,
    last_sent: Instant,
    /// Since when the database does not answer.
    away_since: Option<Instant>,
    _slot: StreamSlot,
}

/// The stream is over: its follower is gone or too slow, or the rows cannot be read.
struct StreamOver;

impl StreamWriter {
    /// Sends everything until the run has ended, the follower is gone, or the stream is too old.
    async fn run(mut self, first: SharedPage) {
        let gone = self.sender.clone();
        let life = timeout(self.settings.stream_life_max, self.send_all(first));
        tokio::select! {
            () = gone.closed() => {}
            _over = life => {}
        }
    }

    async fn send_all(&mut self, first: SharedPage) -> Result<(), StreamOver> {
        self.send(Bytes::from(format!("retry: {STREAM_RETRY_MS}\n\n"))).await?;
        let mut page = first;
        loop {
            self.send_page(&page).await?;
            let (ended, more) = (page.ended, page.more);
            drop(page); // Its bytes must not count while we wait.
            if ended {
                return Ok(());
            }
            if !more {
                self.wait().await?;
            }
            page = self.read().await?;
        }
    }

    /// Sends a page in pieces, so that a follower is measured by how fast it takes them.
    async fn send_page(&mut self, page: &StreamPage) -> Result<(), StreamOver> {
        let mut rest = page.bytes.clone();
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(STREAM_CHUNK_BYTES));
            self.send(chunk).await?;
        }
        self.cursor = page.next;
        Ok(())
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), StreamOver> {
        failpoint::pass("during_sse_flush");
        let sent = timeout(self.settings.stream_send_timeout, self.sender.send(chunk));
        sent.await.map_err(|_| StreamOver)?.map_err(|_| StreamOver)?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// Returns when there may be something new; gives signs of life meanwhile.
    async fn wait(&mut self) -> Result<(), StreamOver> {
        let look_again = Instant::now() + with_jitter(STREAM_POLL);
        loop {
            let heartbeat = self.last_sent + self.settings.stream_heartbeat;
            tokio::select! {
                () = self.bell.woken() => return Ok(()),
                () = sleep_until(look_again.min(heartbeat)) => {}
            }
            if Instant::now() >= heartbeat {
                self.send(Bytes::from_static(b": hb\n\n")).await?;
            }
            if Instant::now() >= look_again {
                return Ok(());
            }
        }
    }

    /// The next page; waits while the database is away, for a bounded time.
    async fn read(&mut self) -> Result<SharedPage, StreamOver> {
        loop {
            let page = self.pages.read(
                &self.scoped,
                self.run_id,
                self.cursor,
                self.with_deltas,
                &self.owner,
            );
            match page.await {
                Ok(page) => {
                    self.away_since = None;
                    return Ok(page);
                }
                Err(PageError::Store(error))
                    if matches!(
                        *error,
                        StoreError::Unavailable(_) | StoreError::TooSlow(_) | StoreError::OrgBusy
                    ) =>
                {
                    let since = *self.away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= STREAM_OUTAGE_MAX {
                        tracing::warn!(%error, "a stream ends because the database does not answer");
                        return Err(StreamOver);
                    }
                    // The bell may be what rings: without a rest here this would be a busy loop.
                    sleep_until(Instant::now() + with_jitter(STREAM_POLL)).await;
                    self.wait().await?;
                }
                Err(PageError::NoRoom) => {
                    let org_id = &self.scoped.scope().org_id;
                    tracing::debug!(%org_id, "a stream ends: too much waits for followers that do not read");
                    return Err(StreamOver);
                }
                Err(PageError::Store(error)) => {
                    tracing::error!(%error, run_id = %self.run_id, "a stream cannot be read");
                    return Err(StreamOver);
                }
                Err(PageError::Unwritable(error)) => {
                    tracing::error!(%error, run_id = %self.run_id, "an event cannot be written");
                    return Err(StreamOver);
                }
            }
        }
    }
}

/// Followers that began together should not all poll at the same time.
fn with_jitter(around: Duration) -> Duration {
    let dice = u32::from(Uuid::now_v7().as_bytes().last().copied().unwrap_or(0));
    around * (80 + 40 * dice / 255) / 100
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
