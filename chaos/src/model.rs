//! The model: an OpenAI-compatible server whose answers follow from the task alone. For a task of
//! N steps it asks for two effects, or for memories to be written, in each of the first N-1 turns,
//! then gives its answer. It writes down every request.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::post,
};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    clock::now_us,
    tools::{AGAIN, MEMORY_WRITE, ONCE},
};

/// Longest delay inside a tool.
const TOOL_DELAY_MAX_MS: u64 = 40;

/// What a run is asked to do. Its words are the prompt, and the prompt is all the model sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Unlike that of any other run.
    pub(crate) token: String,
    /// Turns of the model, the last one without tools.
    pub(crate) steps: u64,
    /// Words of each turn.
    pub(crate) words: u64,
    /// Milliseconds from one word to the next, about.
    pub(crate) pace_ms: u64,
    /// Memories that each turn but the last one writes, in place of the two effects; 0 for those.
    pub(crate) memories: u64,
}

impl Task {
    pub(crate) fn prompt(&self) -> String {
        let Self { token, steps, words, pace_ms, memories } = self;
        format!("task {token}: {steps} steps, {words} words, {pace_ms} ms, {memories} memories")
    }

    /// The texts of all memories that its run writes.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        let turns = 0..self.steps.saturating_sub(1);
        turns.flat_map(|turn| self.texts_of(turn))
    }

    /// Those of one turn.
    fn texts_of(&self, turn: u64) -> impl Iterator<Item = String> {
        let name = format!("{}/{turn}", self.token);
        (0..self.memories).map(move |n| memory_text(&name, n))
    }

    fn parse(prompt: &str) -> Option<Self> {
        let (token, rest) = prompt.strip_prefix("task ")?.split_once(": ")?;
        let mut numbers = rest.split(", ").map(|part| part.split(' ').next()?.parse().ok());
        let mut number = || numbers.next().flatten();
        Some(Self {
            token: token.into(),
            steps: number()?,
            words: number()?,
            pace_ms: number()?,
            memories: number()?,
        })
    }

    /// What the model says in a turn, word by word.
    fn words_of(&self, turn: u64) -> Vec<String> {
        (1..=self.words).map(|n| format!("{}/{turn} word {n}. ", self.token)).collect()
    }
}

/// What the n-th memory of this name says, unlike any other. Every tenth has several chunks.
pub(crate) fn memory_text(name: &str, n: u64) -> String {
    let line = format!("Note {n} of {name}: the harbour was closed. 第 {n} 条记录在{name}。\n");
    if n % 10 == 9 { line.repeat(20) } else { line }
}

/// A request for a turn of a task.
#[derive(Debug, Clone)]
pub(crate) struct ModelRequest {
    pub(crate) token: String,
    /// 0 for the first.
    pub(crate) turn: u64,
    /// When, in microseconds since 1970.
    pub(crate) at_us: i64,
}

#[derive(Debug)]
pub(crate) struct Model {
    /// What a provider's `base_url` is set to.
    pub(crate) base_url: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    journal: Mutex<Vec<ModelRequest>>,
}

impl Model {
    /// Serves until the process ends.
    pub(crate) async fn start(seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let shared = Arc::new(Shared { seed, journal: Mutex::default() });
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { base_url, shared })
    }

    /// All requests so far.
    pub(crate) fn journal(&self) -> Vec<ModelRequest> {
        self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    match understand(&body) {
        Ok((task, turn)) => {
            let asked = ModelRequest { token: task.token.clone(), turn, at_us: now_us() };
            shared.journal.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
            let rng = Rng::with_seed(shared.seed ^ hash(&task.token) ^ turn);
            Sse::new(speak(task, turn, rng)).keep_alive(KeepAlive::default()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// The task, and how many turns of the model came after it.
fn understand(body: &Value) -> Result<(Task, u64)> {
    let messages = body.get("messages").and_then(Value::as_array).context("messages")?;
    let role = |message: &Value, name: &str| message.get("role").is_some_and(|role| role == name);
    let at = messages.iter().rposition(|message| role(message, "user")).context("a user")?;
    let prompt = messages.get(at).and_then(|message| message.get("content")?.as_str());
    let task = Task::parse(prompt.context("a prompt")?).context("a task")?;
    let turn = messages.iter().skip(at).filter(|message| role(message, "assistant")).count();
    Ok((task, turn as u64))
}

fn speak(
    task: Task,
    turn: u64,
    mut rng: Rng,
) -> impl futures::Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let chunk = |delta: Value, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            Event::default().data(json!({"choices": [choice]}).to_string())
        };
        for word in task.words_of(turn) {
            sleep(Duration::from_millis(rng.u64(0..=2 * task.pace_ms))).await;
            yield Ok(chunk(json!({"content": word}), None));
        }
        let is_last = turn + 1 >= task.steps;
        if !is_last {
            let deeds = if task.memories > 0 {
                memories(&task, turn)
            } else {
                effects(&task, turn, &mut rng)
            };
            let calls: Vec<Value> = deeds.iter().zip(0..).map(|((tool, arguments), index)| {
                json!({"index": index, "id": format!("c{index}"), "type": "function",
                       "function": {"name": tool, "arguments": arguments.to_string()}})
            }).collect();
            yield Ok(chunk(json!({"tool_calls": calls}), None));
        }
        yield Ok(chunk(json!({}), Some(if is_last { "stop" } else { "tool_calls" })));
        let usage = json!({"prompt_tokens": 100 + turn, "completion_tokens": task.words + 1});
        yield Ok(Event::default().data(json!({"choices": [], "usage": usage}).to_string()));
        yield Ok(Event::default().data("[DONE]"));
    }
}

/// Calls of one turn: the tool, and its arguments.
fn effects(task: &Task, turn: u64, rng: &mut Rng) -> Vec<(String, Value)> {
    let call = |tool: &&str| {
        let delay_ms = rng.u64(0..=TOOL_DELAY_MAX_MS);
        let arguments = json!({"token": task.token, "step": turn + 1, "delay_ms": delay_ms});
        (format!("effects__{tool}"), arguments)
    };
    [ONCE, AGAIN].iter().map(call).collect()
}

fn memories(task: &Task, turn: u64) -> Vec<(String, Value)> {
    let call = |text| (MEMORY_WRITE.to_owned(), json!({"type": "episodic", "text": text}));
    task.texts_of(turn).map(call).collect()
}

/// A hash of the text (FNV-1a), the same on every machine.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_says_the_whole_task() {
        let task = Task { token: "org-7".into(), steps: 5, words: 3, pace_ms: 20, memories: 4 };
        assert_eq!(Task::parse(&task.prompt()), Some(task));
        assert_eq!(Task::parse("hello"), None);
    }
}
