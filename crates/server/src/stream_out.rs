//! The sending side of a stream: a task that writes into a bounded channel, so that a follower who does
//! not read is noticed, and slows nobody else; signs of life; and how long a stream outlives a database
//! that is away. What is sent is decided by the routes.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream::unfold;
use http::{HeaderName, HeaderValue, header};
use store::{error::StoreError, failpoint};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    app::App,
    auth::principal::Principal,
    limits::{
        STREAM_CHUNK_BYTES, STREAM_CHUNKS_WAITING, STREAM_OUTAGE_MAX, STREAM_POLL, STREAM_RETRY_MS,
    },
    open_streams::StreamSlot,
    settings::ServerSettings,
    stream_pages::PageError,
};

const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The stream is over: its follower is gone or too slow, or the rows cannot be read.
pub(crate) struct StreamOver;

/// Where a stream is written to.
pub(crate) struct StreamOut {
    sender: mpsc::Sender<Bytes>,
    settings: ServerSettings,
    last_sent: Instant,
    /// Since when the database does not answer.
    away_since: Option<Instant>,
    _slot: StreamSlot,
}

/// Answers with a stream that is written until its writer is done, the follower is gone, the credential
/// is no longer good, or the stream is too old.
pub(crate) fn open_stream<F>(
    app: &App,
    principal: Principal,
    slot: StreamSlot,
    write: impl FnOnce(StreamOut) -> F,
) -> Response
where
    F: Future<Output = Result<(), StreamOver>> + Send + 'static,
{
    let (sender, chunks) = mpsc::channel(STREAM_CHUNKS_WAITING);
    let gone = sender.clone();
    let settings = app.settings.clone();
    let life_max = settings.stream_life_max;
    let last_sent = Instant::now();
    let writing = write(StreamOut { sender, settings, last_sent, away_since: None, _slot: slot });
    let shutdown = app.shutdown.clone().cancelled_owned();
    let authenticator = app.authenticator.clone();
    app.tasks.spawn(
        async move {
            tokio::select! {
                () = shutdown => {}
                () = authenticator.lost(&principal) => {}
                () = gone.closed() => {}
                _over = timeout(life_max, writing) => {}
            }
        }
        .in_current_span(),
    );
    answer(chunks)
}

fn answer(chunks: mpsc::Receiver<Bytes>) -> Response {
    let body = unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), chunks))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

impl StreamOut {
    /// What every stream begins with.
    pub(crate) async fn begin(&mut self) -> Result<(), StreamOver> {
        self.send(Bytes::from(format!("retry: {STREAM_RETRY_MS}\n\n"))).await
    }

    /// Sends in pieces, so that a follower is measured by how fast it takes them.
    pub(crate) async fn send_pieces(&mut self, mut rest: Bytes) -> Result<(), StreamOver> {
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(STREAM_CHUNK_BYTES));
            self.send(chunk).await?;
        }
        Ok(())
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), StreamOver> {
        failpoint::pass("during_sse_flush");
        let sent = timeout(self.settings.stream_send_timeout, self.sender.send(chunk));
        sent.await.map_err(|_| StreamOver)?.map_err(|_| StreamOver)?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// Returns when there may be something new: what has rung, or nothing when it is time to look.
    /// Gives signs of life meanwhile.
    pub(crate) async fn wait<T>(
        &mut self,
        rings: impl Future<Output = T>,
    ) -> Result<Option<T>, StreamOver> {
        let look_again = Instant::now() + with_jitter(STREAM_POLL);
        let mut rings = std::pin::pin!(rings);
        loop {
            let heartbeat = self.last_sent + self.settings.stream_heartbeat;
            tokio::select! {
                rung = &mut rings => return Ok(Some(rung)),
                () = sleep_until(look_again.min(heartbeat)) => {}
            }
            if Instant::now() >= heartbeat {
                self.send(Bytes::from_static(b": hb\n\n")).await?;
            }
            if Instant::now() >= look_again {
                return Ok(None);
            }
        }
    }

    /// A read has succeeded.
    pub(crate) fn database_is_back(&mut self) {
        self.away_since = None;
    }

    /// A read has failed: returns when it may be tried again, which is for a bounded time while the
    /// database is away.
    pub(crate) async fn outlast(&mut self, error: &PageError) -> Result<(), StreamOver> {
        match error {
            PageError::Store(error)
                if matches!(
                    **error,
                    StoreError::Unavailable(_) | StoreError::TooSlow(_) | StoreError::OrgBusy
                ) =>
            {
                let since = *self.away_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STREAM_OUTAGE_MAX {
                    tracing::warn!(%error, "a stream ends because the database does not answer");
                    return Err(StreamOver);
                }
                // No bell: it may be what rings, and this would be a busy loop.
                self.wait(std::future::pending::<()>()).await?;
                Ok(())
            }
            PageError::NoRoom => {
                tracing::debug!("a stream ends: too much waits for followers that do not read");
                Err(StreamOver)
            }
            PageError::Store(error) => {
                tracing::error!(%error, "a stream cannot be read");
                Err(StreamOver)
            }
            PageError::Unwritable(error) => {
                tracing::error!(%error, "a frame cannot be written");
                Err(StreamOver)
            }
        }
    }
}

/// Followers that began together should not all poll at the same time.
fn with_jitter(around: Duration) -> Duration {
    let dice = u32::from(Uuid::now_v7().as_bytes().last().copied().unwrap_or(0));
    around * (80 + 40 * dice / 255) / 100
}
