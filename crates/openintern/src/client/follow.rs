//! Following a run: its events from a cursor to the last, each once, whatever happens to the
//! connection. It renders nothing.

use std::{collections::VecDeque, time::Duration};

use protocol::{
    event::{LlmDelta, LlmReset, TERMINAL_TYPE_NAMES},
    id::RunId,
    run::{Run, RunStatus},
};
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT, HeaderName},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    ApiClient,
    sse::{FrameDecoder, SseFrame},
};
use crate::exit::{Exit, Failure};

/// The server sends something every 15 s: after this long in silence the connection is lost.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// The wait before the first new try; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Without a connection for this long we give up; the run goes on.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// Where a follower is; kept while the connection comes and goes.
pub(crate) struct RunFollower<'a> {
    client: &'a ApiClient,
    run_id: RunId,
    deltas: bool,
    /// The number of the last event that was handed out.
    cursor: u64,
    connection: Option<OpenStream>,
    away: Option<Away>,
    end: Option<RunStatus>,
}

/// There is no connection at the moment.
struct Away {
    since: Instant,
    tries: u32,
    /// The wait before the next try.
    wait: Duration,
}

struct OpenStream {
    response: Response,
    decoder: FrameDecoder,
    frames: VecDeque<SseFrame>,
}

/// What a follower sees.
#[derive(Debug)]
pub(crate) enum StreamItem {
    /// The next event, as the server wrote it.
    Event { json: String },
    /// Text of the model's answer as it comes.
    Delta(LlmDelta),
    /// That text is void.
    Reset(LlmReset),
    /// The connection is lost; a new try follows after this wait.
    Lost { wait: Duration },
    /// There is a connection again; nothing after this event was missed.
    Resumed { cursor: u64 },
    /// The run has ended with this status; nothing follows.
    End(RunStatus),
}

enum Frayed {
    /// A fault that another try may not meet again.
    Again(Failure),
    /// A fault that another try would meet again: the server has answered.
    Final(Failure),
}

impl<'a> RunFollower<'a> {
    /// Starts after event `cursor`; 0 is from the first.
    pub(crate) fn new(client: &'a ApiClient, run_id: RunId, cursor: u64, deltas: bool) -> Self {
        Self { client, run_id, deltas, cursor, connection: None, away: None, end: None }
    }

    /// The number of the last event that was handed out.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Waits for what comes next. Fails when the server refuses, or stays away too long.
    pub(crate) async fn next(&mut self) -> Result<StreamItem, Failure> {
        loop {
            if let Some(status) = self.end {
                return Ok(StreamItem::End(status));
            }
            if let Some(connection) = &mut self.connection {
                if let Some(frame) = connection.frames.pop_front() {
                    if let Some(seen) = self.take(&frame)? {
                        return Ok(seen);
                    }
                } else if !connection.read().await {
                    return Ok(self.lost());
                }
                continue;
            }
            if let Some(away) = &mut self.away {
                sleep(std::mem::take(&mut away.wait)).await;
            }
            match self.connect().await {
                Ok(()) if self.away.take().is_some() && self.end.is_none() => {
                    return Ok(StreamItem::Resumed { cursor: self.cursor });
                }
                Ok(()) => {}
                Err(Frayed::Final(failure)) => return Err(failure),
                Err(Frayed::Again(failure)) => {
                    let Some(away) = &mut self.away else {
                        return Ok(self.lost());
                    };
                    if away.since.elapsed() > GIVE_UP_AFTER {
                        return Err(failure);
                    }
                    away.wait = RETRY_FIRST.saturating_mul(2 << away.tries.min(8)).min(RETRY_MAX);
                    away.tries += 1;
                }
            }
        }
    }

    fn lost(&mut self) -> StreamItem {
        self.connection = None;
        self.away = Some(Away { since: Instant::now(), tries: 0, wait: RETRY_FIRST });
        StreamItem::Lost { wait: RETRY_FIRST }
    }

    /// Opens the stream after the cursor, or finds out how the run has ended.
    async fn connect(&mut self) -> Result<(), Frayed> {
        let run = self.run_id.to_string();
        let request = self
            .client
            .request(Method::GET, &["api", "runs", &run, "stream"])
            .query(&[("deltas", self.deltas)])
            .header(ACCEPT, "text/event-stream")
            .header(HeaderName::from_static("last-event-id"), self.cursor);
        let response = timeout(SILENCE_MAX, self.client.accepted(request))
            .await
            .map_err(|_| Frayed::Again(self.silence()))?
            .map_err(frayed)?;
        if response.status() == StatusCode::NO_CONTENT {
            // The cursor is at the last event: all that is left is how it ended.
            let run: Run = self.client.get(&["api", "runs", &run], &[]).await.map_err(frayed)?;
            if run.status.is_terminal() {
                self.end = Some(run.status);
                return Ok(());
            }
            return Err(Frayed::Again(self.silence()));
        }
        self.connection = Some(OpenStream {
            response,
            decoder: FrameDecoder::default(),
            frames: VecDeque::new(),
        });
        Ok(())
    }

    fn take(&mut self, frame: &SseFrame) -> Result<Option<StreamItem>, Failure> {
        let odd = |error: serde_json::Error| {
            Failure::new(Exit::Failed, format!("cannot read the stream: {error}"))
        };
        match frame.event.as_str() {
            "llm.delta" => {
                Ok(Some(StreamItem::Delta(serde_json::from_str(&frame.data).map_err(odd)?)))
            }
            "llm.reset" => {
                Ok(Some(StreamItem::Reset(serde_json::from_str(&frame.data).map_err(odd)?)))
            }
            name => {
                let Some(seq) = frame.id.as_deref().and_then(|id| id.parse().ok()) else {
                    return Ok(None); // Not the id of an event: a newer kind of frame.
                };
                if seq <= self.cursor {
                    return Ok(None);
                }
                self.cursor = seq;
                if TERMINAL_TYPE_NAMES.contains(&name) {
                    self.end = Some(status_after(name));
                }
                Ok(Some(StreamItem::Event { json: frame.data.clone() }))
            }
        }
    }

    fn silence(&self) -> Failure {
        Failure::new(
            Exit::Unreachable,
            format!("the server at {} says nothing", self.client.address()),
        )
    }
}

impl OpenStream {
    /// Reads on. Returns whether the connection is still open.
    async fn read(&mut self) -> bool {
        let Ok(Ok(Some(chunk))) = timeout(SILENCE_MAX, self.response.chunk()).await else {
            return false;
        };
        match self.decoder.feed(&chunk) {
            Ok(frames) => {
                self.frames.extend(frames);
                true
            }
            Err(_) => false,
        }
    }
}

fn status_after(event: &str) -> RunStatus {
    match event {
        "run.completed" => RunStatus::Completed,
        "run.cancelled" => RunStatus::Cancelled,
        _ => RunStatus::Failed,
    }
}

fn frayed(failure: Failure) -> Frayed {
    match failure.exit {
        Exit::Unreachable | Exit::Conflict | Exit::Failed => Frayed::Again(failure),
        _ => Frayed::Final(failure),
    }
}
