//! A task of four hundred steps with a model whose window is hard, counted by a real tokenizer: what is
//! longer is refused, and nothing that was said early is lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    id::RunId,
    name::AgentId,
    page::PageLimit,
    run::{CreateRun, RunStatus},
    scope::Scope,
    time::Zone,
};
use serde_json::{Value, json};
use store::{Store, connect::migrate, scoped::Scoped, settings::StoreSettings};
use tiktoken_rs::{CoreBPE, o200k_base_singleton};

use crate::{
    PATIENCE,
    server::{Answer, Server},
};

/// Tokens of prompt and answer.
const WINDOW: usize = 32_000;
const STEPS: u32 = 400;
/// The step whose result has a fact in its middle, where no prompt shows it.
const FACT_STEP: usize = 3;
/// Fewest steps between two summaries.
const STEPS_BETWEEN: u64 = 6;

/// The model: it answers by what it is sent, and by nothing else but the number of its steps.
struct Model {
    tokenizer: &'static CoreBPE,
    /// Tokens of texts that were counted before: a prompt is mostly the one before.
    counted: HashMap<String, usize>,
    step: usize,
    refusals: usize,
    summaries: usize,
    largest: usize,
}

impl Model {
    fn answer(&mut self, body: &Value) -> Answer {
        let messages = body["messages"].as_array().unwrap();
        let mut tokens = self.tokens(&body["tools"].to_string());
        for message in messages {
            let calls = message.get("tool_calls").map(Value::to_string).unwrap_or_default();
            tokens += 4 + self.tokens(text_of(message)) + self.tokens(&calls);
        }
        if tokens > WINDOW {
            self.refusals += 1;
            let words = format!(
                "This model's maximum context length is {WINDOW} tokens. However, your messages \
                 resulted in {tokens} tokens. Please reduce the length of the messages."
            );
            let error = json!({"message": words, "type": "invalid_request_error",
                               "code": "context_length_exceeded"});
            let body = json!({"error": error}).to_string();
            return Answer { status: 400, content_type: "application/json", body };
        }
        self.largest = self.largest.max(tokens);
        let said = match body.get("tools") {
            None => {
                self.summaries += 1;
                json!({"content": facts(messages).into_iter().collect::<Vec<_>>().join("\n")})
            }
            Some(_) => self.step(messages),
        };
        completion(&said, tokens)
    }

    fn tokens(&mut self, text: &str) -> usize {
        if let Some(tokens) = self.counted.get(text) {
            return *tokens;
        }
        let tokens = self.tokenizer.encode_ordinary(text).len();
        self.counted.insert(text.to_owned(), tokens);
        tokens
    }

    fn step(&mut self, messages: &[Value]) -> Value {
        self.step += 1;
        let step = self.step;
        let call = |tool: &str, args: Value| {
            json!({"tool_calls": [{"index": 0, "id": format!("c{step}"), "type": "function",
                                   "function": {"name": tool, "arguments": args.to_string()}}]})
        };
        if step == STEPS as usize {
            return json!({"content": facts(messages).into_iter().collect::<Vec<_>>().join(" ")});
        }
        match step {
            FACT_STEP => call("read_file", json!({"path": "rare", "limit": 5000})),
            // It looks for what it was not shown.
            _ if step == FACT_STEP + 1 => {
                assert_eq!(facts(messages).len(), 1, "the middle of the file is not shown");
                let last = text_of(messages.last().unwrap());
                let id = last.find("call_").and_then(|at| last.get(at..at + 31)).unwrap();
                call("result_read", json!({"tool_call_id": id, "match": "f.ct the"}))
            }
            _ => call("read_file", json!({"path": "log", "offset": step * 10, "limit": 40})),
        }
    }
}

fn text_of(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

/// The facts that stand in a prompt.
fn facts(messages: &[Value]) -> BTreeSet<String> {
    let after = messages.iter().flat_map(|message| text_of(message).split("FACT ").skip(1));
    after.filter_map(|rest| Some(format!("FACT {}.", rest.split_once('.')?.0))).collect()
}

fn completion(said: &Value, tokens: usize) -> Answer {
    let reason = if said.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
    let usage =
        json!({"prompt_tokens": tokens, "completion_tokens": 20, "total_tokens": tokens + 20});
    let frames = [
        json!({"choices": [{"index": 0, "delta": said, "finish_reason": null}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
        json!({"choices": [], "usage": usage}),
    ];
    let stream: String = frames.iter().map(|frame| format!("data: {frame}\n\n")).collect();
    let body = stream + "data: [DONE]\n\n";
    Answer { status: 200, content_type: "text/event-stream", body }
}

/// Lines as logs have them: a tokenizer makes more of their figures than of prose.
fn log(lines: u64) -> String {
    let line = |n: u64| {
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "2026-03-{:02}T{:02}:00:00Z worker={id:016x} done in {} ms\n",
            n % 28,
            n % 24,
            n % 997
        )
    };
    (0..lines).map(line).collect()
}

async fn payloads(scoped: &Scoped, run_id: RunId, kind: &str) -> Vec<(String, Value)> {
    let limit = PageLimit::try_from(500).unwrap();
    let page = scoped.list_events(run_id, 0, limit, &[kind.to_owned()]).await.unwrap();
    assert!(page.next_cursor.is_none());
    let read = |event: &protocol::event::StoredEvent| {
        let step = event.step_id.clone().unwrap_or_default();
        (step, serde_json::from_str(event.payload.get()).unwrap())
    };
    page.items.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_four_hundred_steps_within_a_hard_window() {
    let model = Arc::new(Mutex::new(Model {
        tokenizer: o200k_base_singleton(),
        counted: HashMap::new(),
        step: 0,
        refusals: 0,
        summaries: 0,
        largest: 0,
    }));
    let asked = Arc::clone(&model);
    let server = Server::start(move |_, body| asked.lock().unwrap().answer(body)).await;
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    let store = Store::connect(&StoreSettings::new(&database.app_url)).await.unwrap();
    let provider = json!({"kind": "openai", "base_url": server.url, "api_key": "sk-stand-in"});
    let settings: ModelSettings =
        serde_json::from_value(json!({"providers": {"p": provider}})).unwrap();
    let models = Models::new(&settings).unwrap();
    let mut agent = AgentSettings { model: Some("p/m".into()), ..AgentSettings::default() };
    agent.limits.max_steps = Some(STEPS);
    let scope = Scope {
        org_id: "org_a".parse().unwrap(),
        user_id: "user_a".parse().unwrap(),
        project_id: None,
    };
    let workspace = tempfile::tempdir().unwrap();
    let folder = workspace.path().join("org-org_a/user-user_a/no-project");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("log"), log(5_000)).unwrap();
    let rare = format!("{}FACT the locker is number 9023.\n{}", log(2_000), log(2_000));
    std::fs::write(folder.join("rare"), rare).unwrap();
    let parts = WorkerParts {
        store: store.clone(),
        models: models.clone(),
        memory: MemoryService::new(store.clone(), None),
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
    let task =
        CreateRun::new("Read the log. FACT the door opens with 4711. Say all facts at the end.");
    let run_id = scoped.create_run(&task, None).await.unwrap().run_id;
    let run = crate::ended(&scoped, run_id).await;
    worker.stop(PATIENCE).await;

    assert_eq!(run.status, RunStatus::Completed, "{:?}", run.error);
    assert_eq!(run.step_count, STEPS);
    assert_eq!(
        run.output.as_deref(),
        Some("FACT the door opens with 4711. FACT the locker is number 9023.")
    );
    let folded = payloads(&scoped, run_id, "context.compacted").await;
    let through: Vec<_> =
        folded.iter().map(|(_, payload)| payload["through_step"].as_u64().unwrap()).collect();
    assert!(through.windows(2).all(|pair| pair[0] < pair[1]), "never twice: {through:?}");
    assert!(folded.iter().all(|(_, payload)| payload["method"] == "model"), "{folded:?}");
    let at = |step: &str| step.trim_start_matches("step_").parse::<u64>().unwrap();
    let steps: Vec<_> = folded.iter().map(|(step, _)| at(step)).collect();
    // The refusal of the one large result comes on its own terms.
    let later: Vec<_> = steps.iter().filter(|step| **step > FACT_STEP as u64 + 1).collect();
    assert!(later.windows(2).all(|pair| pair[1] - pair[0] >= STEPS_BETWEEN), "{steps:?}");
    let warnings = payloads(&scoped, run_id, "run.warning").await;
    let of = |code: &str| warnings.iter().filter(|(_, warning)| warning["code"] == code).count();
    assert_eq!(store.kept_lessons().await.unwrap().len(), 1, "for other workers, too");
    let model = model.lock().unwrap();
    println!(
        "{} summaries and {} refusals in {STEPS} steps; the largest prompt had {} tokens",
        model.summaries, model.refusals, model.largest
    );
    assert_eq!(of("context_length_exceeded"), model.refusals, "{warnings:?}");
    assert_eq!(warnings.len(), model.refusals, "{warnings:?}");
    assert!((1..=4).contains(&model.refusals), "{}", model.refusals);
    let taught: Vec<_> = models.taught().into_iter().flat_map(|taught| taught.lessons).collect();
    assert_eq!(taught, ["takes prompts of at most 32000 tokens"]);
}
