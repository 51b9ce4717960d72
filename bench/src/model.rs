//! A model that answers at once and as large as it is told: an OpenAI-compatible server for figures
//! of memory. The task says what it does: `say N` is N bytes of text, `read N` is N calls of
//! `read_file` in each turn, none like another, until the run is ended.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::post,
};
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Bytes of one piece of text.
const PIECE: usize = 16 * 1024;

/// Calls that were asked for so far.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicU64>);

impl Calls {
    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
        Some(("read", number)) => vec![json!({"tool_calls": reads(&calls, number)})],
        Some(_) | None => return (StatusCode::BAD_REQUEST, "`say N` or `read N`").into_response(),
    };
    let finish = if deltas.iter().any(|delta| delta.get("tool_calls").is_some()) {
        "tool_calls"
    } else {
        "stop"
    };
    let choice = |delta, finish| json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunks = deltas.into_iter().map(|delta| choice(delta, Value::Null));
    let chunks: Vec<_> = chunks
        .chain([choice(json!({}), finish.into())])
        .map(|choice| Event::default().data(json!({"choices": [choice]}).to_string()))
        .chain([Event::default().data("[DONE]")])
        .map(Ok::<_, Infallible>)
        .collect();
    Sse::new(stream::iter(chunks)).into_response()
}

/// What the first message of the user asks for.
fn task(body: &Value) -> Option<(&str, usize)> {
    let messages = body.get("messages")?.as_array()?;
    let user = messages.iter().find(|message| message.get("role").is_some_and(|it| it == "user"));
    let (verb, number) = user?.get("content")?.as_str()?.split_once(' ')?;
    Some((verb, number.parse().ok()?))
}

fn text(bytes: usize) -> Vec<Value> {
    let line = "All work and no play makes a dull report. ";
    let piece = |bytes| json!({"content": line.chars().cycle().take(bytes).collect::<String>()});
    (0..bytes).step_by(PIECE).map(|at| piece(PIECE.min(bytes - at))).collect()
}

fn reads(calls: &Calls, number: usize) -> Vec<Value> {
    let call = |index: usize| {
        let offset = calls.0.fetch_add(1, Ordering::Relaxed) % 1000 + 1;
        let arguments = json!({"path": "large.txt", "offset": offset, "limit": 5000});
        json!({"index": index, "id": format!("c{index}"), "type": "function",
               "function": {"name": "read_file", "arguments": arguments.to_string()}})
    };
    (0..number).map(call).collect()
}
