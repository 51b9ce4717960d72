//! A model that does as it is told: an OpenAI-compatible server for figures of memory and of many runs.
//! The task says what it does: `say N` is N bytes of text at once, `read N` is N calls of `read_file`
//! in each turn, none like another, until the run is ended; `tell N: …` is fact N; `pace N` is N pieces of text, a quarter of
//! a second apart, from when so many are asked for at once that its gate opens.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::post,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, interval_at},
};

use crate::texts;

/// Bytes of one piece of text.
const PIECE: usize = 16 * 1024;

/// Time between two pieces of `pace`.
const PACE: Duration = Duration::from_millis(250);

/// What was asked for so far.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    reads: Arc<AtomicU64>,
    pieces: Arc<AtomicU64>,
    /// Answers of `pace` that have begun.
    paced: Arc<watch::Sender<u64>>,
    gate: Arc<watch::Sender<bool>>,
}

impl Calls {
    /// Calls of `read_file`.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Pieces of `pace` that were sent.
    pub(crate) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Returns when so many answers of `pace` wait at the gate.
    pub(crate) async fn until_paced(&self, number: u64) {
        self.paced.subscribe().wait_for(|paced| *paced >= number).await.ok();
    }

    /// Lets all answers of `pace` go.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

/// Serves until the process ends; says a provider's `base_url`.
pub(crate) async fn start(calls: Calls) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let base_url = format!("http://{}/v1", listener.local_addr()?);
    let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(calls);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(base_url)
}

async fn answer(State(calls): State<Calls>, Json(body): Json<Value>) -> Response {
    let deltas = match task(&body) {
        Some(("say", bytes)) => text(bytes),
        Some(("tell", number)) => vec![json!({"content": texts::fact(number as u64)})],
        Some(("read", number)) => vec![json!({"tool_calls": reads(&calls, number)})],
        Some(("pace", pieces)) => return paced(calls, pieces),
        Some(_) | None => {
            return (StatusCode::BAD_REQUEST, "`say N`, `read N`, `tell N` or `pace N`")
                .into_response();
        }
    };
    let finish = if deltas.iter().any(|delta| delta.get("tool_calls").is_some()) {
        "tool_calls"
    } else {
        "stop"
    };
    let chunks = deltas.into_iter().map(|delta| chunk(delta, Value::Null));
    let chunks = chunks.chain(ending(finish)).map(Ok::<_, Infallible>);
    Sse::new(stream::iter(chunks.collect::<Vec<_>>())).into_response()
}

fn chunk(delta: Value, finish: Value) -> Event {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    Event::default().data(json!({"choices": [choice]}).to_string())
}

fn ending(finish: &str) -> [Event; 2] {
    [chunk(json!({}), finish.into()), Event::default().data("[DONE]")]
}

/// Each piece says when it was sent. The first pieces of many answers are spread over the pace.
fn paced(calls: Calls, pieces: usize) -> Response {
    let mut number = 0;
    calls.paced.send_modify(|paced| {
        *paced += 1;
        number = *paced;
    });
    let mut gate = calls.gate.subscribe();
    let ticks = async move {
        gate.wait_for(|is_open| *is_open).await.ok();
        let offset = PACE * u32::try_from(number % 1000).unwrap_or_default() / 1000;
        let ticks = interval_at(Instant::now() + offset, PACE);
        stream::unfold(ticks, async |mut ticks| {
            ticks.tick().await;
            Some(((), ticks))
        })
    };
    let said = stream::once(ticks).flatten().take(pieces).map(move |()| {
        calls.pieces.fetch_add(1, Ordering::Relaxed);
        chunk(json!({"content": stamp()}), Value::Null)
    });
    Sse::new(said.chain(stream::iter(ending("stop"))).map(Ok::<_, Infallible>)).into_response()
}

/// The time of this process, as a word: `@` and microseconds.
fn stamp() -> String {
    format!("@{} said now. ", now_us())
}

/// How long ago a stamp was made, the last one in a text.
pub(crate) fn age(text: &str) -> Option<Duration> {
    let (_, rest) = text.rsplit_once('@')?;
    let at_us: u64 = rest.split(' ').next()?.parse().ok()?;
    Some(Duration::from_micros(now_us().saturating_sub(at_us)))
}

fn now_us() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What the first message of the user asks for.
fn task(body: &Value) -> Option<(&str, usize)> {
    let messages = body.get("messages")?.as_array()?;
    let user = messages.iter().find(|message| message.get("role").is_some_and(|it| it == "user"));
    let (verb, rest) = user?.get("content")?.as_str()?.split_once(' ')?;
    let (number, _) = rest.split_once(':').unwrap_or((rest, ""));
    Some((verb, number.parse().ok()?))
}

fn text(bytes: usize) -> Vec<Value> {
    let line = "All work and no play makes a dull report. ";
    let piece = |bytes| json!({"content": line.chars().cycle().take(bytes).collect::<String>()});
    (0..bytes).step_by(PIECE).map(|at| piece(PIECE.min(bytes - at))).collect()
}

fn reads(calls: &Calls, number: usize) -> Vec<Value> {
    let call = |index: usize| {
        let offset = calls.reads.fetch_add(1, Ordering::Relaxed) % 1000 + 1;
        let arguments = json!({"path": "large.txt", "offset": offset, "limit": 5000});
        json!({"index": index, "id": format!("c{index}"), "type": "function",
               "function": {"name": "read_file", "arguments": arguments.to_string()}})
    };
    (0..number).map(call).collect()
}
