//! What a provider's cache can find of a prompt: the bytes that a request begins with, compared with
//! those of the request before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use agent::{
    parts::WorkerParts,
    redactor::Redactor,
    settings::{AfterRun, AgentSettings, RunSizeLimits, WorkerSettings},
    worker::Worker,
};
use mcp::{process::Launcher, servers::Servers};
use memory::service::MemoryService;
use model::{models::Models, settings::ModelSettings};
use protocol::{
    memory::{MemoryType, WriteMemory},
    name::AgentId,
    run::{CreateRun, RunStatus},
    scope::Scope,
    time::Zone,
};
use serde_json::{Value, json};
use store::{Store, connect::migrate, settings::StoreSettings};

use crate::{
    PATIENCE,
    server::{Answer, Server},
};

const SUBJECTS: [&str; 30] = [
    "plumber",
    "violin",
    "harbour",
    "passport",
    "orchard",
    "printer",
    "glacier",
    "saffron",
    "bicycle",
    "lantern",
    "dentist",
    "marathon",
    "tortoise",
    "castle",
    "invoice",
    "telescope",
    "vineyard",
    "umbrella",
    "chimney",
    "ferry",
    "quilt",
    "beehive",
    "anchor",
    "pottery",
    "sauna",
    "compass",
    "kettle",
    "meadow",
    "rocket",
    "piano",
];

/// The parts of a request in the order in which a model reads them, without the marks of a cache.
fn read_by_model(body: &Value) -> String {
    let mut body = body.clone();
    unmark(&mut body);
    let part = |name: &str| body.get(name).map(Value::to_string).unwrap_or_default();
    let messages = part("messages");
    // More may follow: the brackets and quotes at its end are not a part of what was said.
    let messages = messages.trim_end_matches([']', '}', '"']);
    format!("{}\n{}\n{messages}", part("tools"), part("system"))
}

fn unmark(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("cache_control");
            map.values_mut().for_each(unmark);
        }
        Value::Array(items) => items.iter_mut().for_each(unmark),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn marks(value: &Value) -> usize {
    match value {
        Value::Object(map) => {
            usize::from(map.contains_key("cache_control")) + map.values().map(marks).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(marks).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Of each request, how much of the one before it begins with, as a share of the shorter.
fn shares(bodies: &[Value]) -> Vec<f64> {
    let texts: Vec<_> = bodies.iter().map(read_by_model).collect();
    let pairs = texts.windows(2);
    pairs
        .map(|pair| {
            let (before, after) = (pair[0].as_bytes(), pair[1].as_bytes());
            let common = before.iter().zip(after).take_while(|(a, b)| a == b).count();
            common as f64 / before.len().min(after.len()) as f64
        })
        .collect()
}

/// What the stand-in says: words, and a call until so many were made since the user has spoken.
fn said(path: &str, body: &Value, steps: usize) -> Answer {
    let messages = body["messages"].as_array().unwrap();
    let turns = messages.iter().filter(|message| message["role"] == "assistant").count();
    let is_last = turns >= steps;
    let words = format!("Now about the {}.", SUBJECTS[turns % SUBJECTS.len()]);
    let args = json!({"path": format!("{turns}.md")});
    let events: Vec<Value> = if path.ends_with("messages") {
        let call = json!({"type": "tool_use", "id": format!("toolu_{turns}"), "name": "read_file", "input": {}});
        let mut events = vec![
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 1000, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}),
        ];
        if !is_last {
            events.push(json!({"type": "content_block_start", "index": 1, "content_block": call}));
            events.push(json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": args.to_string()}}));
        }
        let reason = if is_last { "end_turn" } else { "tool_use" };
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 20}}));
        events.push(json!({"type": "message_stop"}));
        events
    } else {
        let call = json!({"index": 0, "id": format!("call_{turns}"), "type": "function",
                          "function": {"name": "read_file", "arguments": args.to_string()}});
        let delta = match is_last {
            true => json!({"content": words}),
            false => json!({"content": words, "tool_calls": [call]}),
        };
        let reason = if is_last { "stop" } else { "tool_calls" };
        vec![
            json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020}}),
        ]
    };
    let stream: String = events.into_iter().map(|event| format!("data: {event}\n\n")).collect();
    let body = if path.ends_with("messages") { stream } else { stream + "data: [DONE]\n\n" };
    Answer { status: 200, content_type: "text/event-stream", body }
}

/// The bodies of all requests of these runs of one session, in order.
async fn recorded(kind: &str, steps: usize, inputs: &[String]) -> Vec<Value> {
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let written = Arc::clone(&bodies);
    let server = Server::start(move |path, body| {
        written.lock().unwrap().push(body.clone());
        said(path, body, steps)
    })
    .await;
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    let store = Store::connect(&StoreSettings::new(&database.app_url)).await.unwrap();
    let memory = MemoryService::new(store.clone(), None);
    let scope = Scope {
        org_id: "org_a".parse().unwrap(),
        user_id: "user_a".parse().unwrap(),
        project_id: None,
    };
    for (subject, n) in SUBJECTS.iter().zip(1..) {
        let text = format!("The {subject} was spoken of on the {n}. of May.");
        memory.write(&scope, &WriteMemory::new(MemoryType::Archival, text), None).await.unwrap();
    }
    let provider = json!({"kind": kind, "base_url": server.url, "api_key": "sk-stand-in"});
    let settings: ModelSettings =
        serde_json::from_value(json!({"providers": {"p": provider}})).unwrap();
    let workspace = tempfile::tempdir().unwrap();
    let mut agent = AgentSettings { model: Some("p/m".into()), ..AgentSettings::default() };
    agent.limits.max_steps = Some(100);
    let parts = WorkerParts {
        store: store.clone(),
        models: Models::new(&settings).unwrap(),
        memory,
        mcp: Arc::new(Servers::start(BTreeMap::new(), Launcher::plain(), []).await),
        redactor: Redactor::default(),
        agents: BTreeMap::from([(AgentId::default(), agent)]),
        after_run: AfterRun::Off,
        size_limits: RunSizeLimits::default(),
        has_memory: || true,
        zone: Zone::UTC,
        workspace_root: workspace.path().to_owned(),
        version: "test",
    };
    let worker = Worker::start(parts, WorkerSettings::default());
    let scoped = store.scoped(&scope);
    for input in inputs {
        let new =
            CreateRun { session_key: "s_a".parse().unwrap(), ..CreateRun::new(input.clone()) };
        let run_id = scoped.create_run(&new, None).await.unwrap().run_id;
        let run = crate::ended(&scoped, run_id).await;
        assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    }
    worker.stop(PATIENCE).await;
    let bodies = bodies.lock().unwrap();
    bodies.clone()
}

fn least(shares: &[f64]) -> f64 {
    shares.iter().copied().fold(1.0, f64::min)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_begins_with_the_bytes_of_the_one_before() {
    for kind in ["openai", "anthropic"] {
        let bodies = recorded(kind, 50, &["Look around.".to_owned()]).await;
        assert_eq!(bodies.len(), 51);
        let last = bodies.last().unwrap().to_string();
        let told = SUBJECTS
            .iter()
            .filter(|subject| last.matches(&format!("The {subject} was spoken of")).count() == 1);
        assert_eq!(told.count(), SUBJECTS.len(), "{kind}: each memory is told once: {last}");
        let shares = shares(&bodies);
        println!("{kind}: at least {:.4} of a request's bytes begin the next", least(&shares));
        assert!(least(&shares) >= 0.97, "{kind}: {shares:?}");
        assert!(bodies.iter().all(|body| marks(body) <= 4), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_a_session_begins_with_the_bytes_of_the_one_before() {
    for kind in ["openai", "anthropic"] {
        let inputs: Vec<_> =
            SUBJECTS.iter().take(20).map(|subject| format!("Tell me of the {subject}.")).collect();
        let bodies = recorded(kind, 0, &inputs).await;
        assert_eq!(bodies.len(), 20);
        let shares = shares(&bodies);
        println!("{kind}: at least {:.4} of a turn's bytes begin the next", least(&shares));
        assert!(least(&shares) >= 0.9, "{kind}: {shares:?}");
    }
}
