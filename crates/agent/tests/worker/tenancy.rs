//! A model that tries, with every built-in tool, to reach what is another tenant's: by ids, paths,
//! links, filters, and scopes among the arguments. Nothing of it comes to its run.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use futures::{StreamExt, stream};
use model::scripted::{Reply, Scripted};
use protocol::{
    event::Fact,
    id::{MemoryId, RunId},
    memory::{MemoryFilters, MemoryType, WriteMemory},
    message::Message,
    page::PageLimit,
    run::CreateRun,
    scope::Scope,
    tool::Outcome,
};
use serde_json::{Value, json};

use crate::{PATIENCE, World};

/// Stands in everything of the others, and in nothing that our model says.
const CANARY: &str = "canary5d1e";
/// Stands in what is ours.
const OURS: &str = "ours77aa";
/// Of one answer of the model.
const CALLS_AT_ONCE: usize = 60;
const CALLS_MIN: usize = 5_000;

/// Another tenant's rows and files.
struct Other {
    scope: Scope,
    run: RunId,
    memory: MemoryId,
    folder: PathBuf,
}

fn others() -> [Scope; 3] {
    [("org_b", "user_a", None), ("org_a", "user_b", None), ("org_a", "user_a", Some("p"))].map(
        |(org, user, project)| Scope {
            org_id: org.parse().unwrap(),
            user_id: user.parse().unwrap(),
            project_id: project.map(|name| name.parse().unwrap()),
        },
    )
}

/// Where `read_file` looks for the files of a scope.
fn folder(scope: &Scope) -> PathBuf {
    let project =
        scope.project_id.as_ref().map_or("no-project".into(), |name| format!("project-{name}"));
    PathBuf::from(format!("org-{}/user-{}/{project}", scope.org_id, scope.user_id))
}

fn note(text: &str, word: &str) -> WriteMemory {
    let mut note = WriteMemory::new(MemoryType::Core, text);
    note.group_key = Some("plans".into());
    note.metadata = json!({"topic": "launch", "word": word}).as_object().cloned();
    note
}

/// Rows and a file of a scope, all with the same words and one of its own.
async fn fill(world: &World, scope: &Scope, word: &str) -> Other {
    let text = format!("The launch code of the project is {word}.");
    let memory = world.memory.write(scope, &note(&text, word), None).await.unwrap();
    let new = CreateRun::new(format!("remember {word}"));
    let run = world.store.scoped(scope).create_run(&new, None).await.unwrap().run_id;
    let folder = world.workspace.path().join(folder(scope));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("plan.md"), text).unwrap();
    Other { scope: scope.clone(), run, memory, folder }
}

/// Links in our folder that lead to the others' files.
fn link(world: &World, others: &[Other]) {
    let ours = world.workspace.path().join(folder(&world.scope));
    std::fs::create_dir_all(&ours).unwrap();
    for (at, other) in others.iter().enumerate() {
        symlink(other.folder.join("plan.md"), ours.join(format!("file{at}"))).unwrap();
        symlink(&other.folder, ours.join(format!("folder{at}"))).unwrap();
        let relative = PathBuf::from("../../..").join(folder(&other.scope));
        symlink(relative, ours.join(format!("relative{at}"))).unwrap();
        std::fs::hard_link(other.folder.join("plan.md"), ours.join(format!("hard{at}"))).unwrap();
    }
    symlink("/", ours.join("root")).unwrap();
    symlink("../../..", ours.join("up")).unwrap();
}

fn paths(world: &World, at: usize, other: &Other) -> Vec<String> {
    let below = folder(&other.scope).join("plan.md").to_str().unwrap().to_owned();
    let whole = other.folder.join("plan.md").to_str().unwrap().to_owned();
    let mut paths = vec![
        below.clone(),
        format!("root{whole}"),
        format!("up/{below}"),
        format!("./up/./{below}"),
        format!("up/up/../{below}"),
        format!("file{at}"),
        format!("folder{at}/plan.md"),
        format!("relative{at}/plan.md"),
        format!("hard{at}"),
        format!("file{at}/"),
        format!("folder{at}"),
        format!("folder{at}/../../../{below}"),
        whole.clone(),
        format!("/{whole}"),
        format!("file://{whole}"),
        format!("~{whole}"),
        format!("$PWD/{whole}"),
        format!("/proc/self/root{whole}"),
        format!("/proc/self/cwd/../..{whole}"),
        format!("root/proc/self/root{whole}"),
        format!("..\\..\\..\\{}", below.replace('/', "\\")),
        format!("%2e%2e/%2e%2e/%2e%2e/{below}"),
        format!("..%2f..%2f..%2f{below}"),
        format!("․․/․․/․․/{below}"),
        format!("plan.md\0/../../../../{below}"),
        format!("plan.md/../../../../{below}"),
        world.workspace.path().join("up").to_str().unwrap().to_owned(),
    ];
    for climb in 1..=12 {
        paths.push(format!("{}{below}", "../".repeat(climb)));
        paths.push(format!("{}{whole}", "../".repeat(climb)));
        paths.push(format!("./{}{below}", "x/../../".repeat(climb)));
    }
    paths
}

/// The forms in which an id may be written, right and wrong.
fn forms(id: &str) -> Vec<String> {
    let bare = id.split_once('_').unwrap().1;
    vec![
        id.into(),
        id.to_uppercase(),
        format!(" {id}"),
        format!("{id}\n"),
        format!("{id}\0"),
        bare.into(),
        format!("mem_{bare}"),
        format!("run_{bare}"),
        format!("{id}' or '1'='1"),
        format!("../{id}"),
    ]
}

/// Arguments that name a scope, wherever somebody might think that one is read.
fn smuggled(args: &Value, other: &Other) -> Vec<Value> {
    let scope = &other.scope;
    let project = scope.project_id.as_ref().map(ToString::to_string);
    let whole = json!({"org_id": scope.org_id.as_str(), "user_id": scope.user_id.as_str(),
                       "project_id": project});
    let mut all = vec![];
    for (key, value) in [
        ("org_id", whole["org_id"].clone()),
        ("user_id", whole["user_id"].clone()),
        ("project_id", whole["project_id"].clone()),
        ("x-org-id", whole["org_id"].clone()),
        ("tenant", whole["org_id"].clone()),
        ("scope", whole.clone()),
        ("scope", json!(scope.to_string())),
        ("caller", json!({"scope": whole})),
        ("metadata", whole.clone()),
        ("filters", whole.clone()),
        ("filters", json!({"metadata": whole})),
        ("filters", json!({"metadata": {}, "scope": whole})),
        ("workspace", json!(other.folder)),
        ("run_id", json!(other.run.to_string())),
        ("id", json!(other.memory.to_string())),
    ] {
        let mut args = args.clone();
        args[key] = value;
        all.push(args);
    }
    let mut args = args.clone();
    args.as_object_mut().unwrap().extend(whole.as_object().unwrap().clone());
    all.push(args);
    all
}

/// Every call that the model makes.
fn calls(world: &World, others: &[Other]) -> Vec<(&'static str, Value)> {
    let mut calls = vec![];
    for (at, other) in others.iter().enumerate() {
        for path in paths(world, at, other) {
            for limit in [1, 10, 500, 5_000] {
                calls.push(("read_file", json!({"path": path, "limit": limit})));
            }
            calls.push(("read_file", json!({"path": path})));
        }
        for id in [forms(&other.run.to_string()), forms(&other.memory.to_string())].concat() {
            calls.push(("memory_get", json!({"id": id})));
            for limit in [1, 2, 10, 100, 500] {
                calls.push(("export_trace", json!({"run_id": id, "limit": limit})));
            }
        }
        for query in ["launch code", "project", "the launch code of the project is", "plan", "启动"]
        {
            for filters in [
                json!({}),
                json!({"group_key": "plans"}),
                json!({"metadata": {"topic": "launch"}}),
                json!({"type": ["core"]}),
                json!({"type": ["core", "episodic", "archival"], "group_key": "plans"}),
                json!({"occurred_after": "1970-01-01"}),
                json!({"metadata": {"org_id": other.scope.org_id.as_str()}}),
                json!({"group_key": other.memory.to_string()}),
            ] {
                for top_k in [1, 8, 50] {
                    let args = json!({"query": query, "filters": filters, "top_k": top_k});
                    calls.push(("memory_search", args));
                }
            }
        }
        for (tool, args) in [
            ("memory_search", json!({"query": "launch code"})),
            ("memory_get", json!({"id": other.memory.to_string()})),
            ("memory_write", json!({"type": "core", "text": format!("{OURS} written {at}")})),
            ("read_file", json!({"path": "plan.md"})),
            ("export_trace", json!({})),
        ] {
            calls.extend(smuggled(&args, other).into_iter().map(|args| (tool, args)));
        }
    }
    // Kinds are mixed, so that no step is without a call that can be made.
    let len = calls.len();
    let step = (len / 7..).find(|step| (2..*step).all(|n| step % n != 0) && len % step != 0);
    let mixed = (0..CALLS_MIN.max(len)).map(|at| calls[at * step.unwrap() % len].clone());
    mixed.collect()
}

/// Answers with the next calls, then with their results' number; other tenants' runs with their word.
fn script() -> (Scripted, std::sync::Arc<Mutex<Vec<Reply>>>) {
    let batches = std::sync::Arc::new(Mutex::new(Vec::<Reply>::new()));
    let next = std::sync::Arc::clone(&batches);
    let is_note = |message: &&Message| matches!(message, Message::Note { .. });
    let script =
        Scripted::new(move |request| match request.messages.iter().rfind(|m| !is_note(m)) {
            Some(Message::Tool { .. }) => Reply::text("done"),
            _ if format!("{:?}", request.messages).contains("remember ") => {
                Reply::text(format!("I remember {CANARY}."))
            }
            _ => next.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default(),
        });
    (script, batches)
}

/// Everything of another tenant's that could change, as text.
async fn rows(world: &World, other: &Other) -> String {
    let scoped = world.store.scoped(&other.scope);
    let filter = MemoryFilters::default();
    let all = PageLimit::try_from(500).unwrap();
    let memories = world.memory.list(&other.scope, &filter, None, all).await.unwrap();
    let events = scoped.list_events(other.run, 0, all, &[]).await.unwrap();
    let runs = scoped.list_runs(&Default::default(), None, all).await.unwrap();
    assert_eq!((memories.items.len(), runs.items.len()), (1, 1));
    json!([memories.items, events.items, runs.items]).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tool_reaches_another_tenant() {
    let (script, batches) = script();
    let world = World::new(script).await;
    let worker = world.worker();
    let mut strangers = vec![];
    for scope in others() {
        let other = fill(&world, &scope, CANARY).await;
        let scoped = world.store.scoped(&scope);
        let mut bell = scoped.watch_run(other.run);
        while !scoped.get_run(other.run).await.unwrap().status.is_terminal() {
            tokio::time::timeout(PATIENCE, bell.woken()).await.unwrap();
        }
        strangers.push(other);
    }
    link(&world, &strangers);
    let ours = world.workspace.path().join(folder(&world.scope));
    std::fs::write(ours.join("plan.md"), OURS).unwrap();
    let own = note(&format!("The launch code of the project is {OURS}."), OURS);
    world.memory.write(&world.scope, &own, None).await.unwrap();
    let mut before = vec![];
    for other in &strangers {
        before.push(rows(&world, other).await);
        assert!(before.last().unwrap().contains(CANARY));
    }
    let asked_before = world.script.requests().len();

    let calls = calls(&world, &strangers);
    let replies: Vec<_> = calls
        .chunks(CALLS_AT_ONCE)
        .map(|calls| {
            let mut calls = calls.iter().cloned();
            calls.try_fold(Reply::default(), |reply, (tool, args)| Some(reply.and_call(tool, args)))
        })
        .map(Option::unwrap)
        .collect();
    let count = replies.len();
    *batches.lock().unwrap() = replies;
    let runs: Vec<_> = stream::iter(0..count)
        .map(async |n| {
            let mut new = CreateRun::new("the launch code of the project");
            new.session_key = format!("s_{n}").parse().unwrap();
            world.ended(world.create(&new).await).await
        })
        .buffer_unordered(8)
        .collect()
        .await;
    worker.stop(PATIENCE).await;

    let (mut made, mut granted) = (0, 0);
    for run in &runs {
        let run: &protocol::run::Run = run;
        assert_eq!(run.output.as_deref(), Some("done"), "{:?}", run.error);
        assert!(!serde_json::to_string(run).unwrap().contains(CANARY));
        for event in world.events(run.run_id).await {
            let said = serde_json::to_string(&event).unwrap();
            assert!(!said.contains(CANARY), "{said}");
            if let Fact::ToolResult { outcome, result, .. } = event.fact {
                made += 1;
                granted += usize::from(outcome == Outcome::Ok && result.to_string().contains(OURS));
            }
        }
        assert!(!format!("{:?}", world.frames(run.run_id).await).contains(CANARY));
    }
    // Every prompt of ours: its messages are what is kept of the conversation.
    for request in &world.script.requests()[asked_before..] {
        assert!(!format!("{request:?}").contains(CANARY));
    }
    let all = PageLimit::try_from(500).unwrap();
    let mut cursor = None;
    loop {
        let filter = MemoryFilters::default();
        let page = world.memory.list(&world.scope, &filter, cursor.as_deref(), all).await.unwrap();
        for memory in &page.items {
            let whole = world.memory.get(&world.scope, memory.id).await.unwrap();
            assert!(!serde_json::to_string(&whole).unwrap().contains(CANARY));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    for (other, before) in strangers.iter().zip(before) {
        assert_eq!(rows(&world, other).await, before, "{}", other.scope);
    }
    assert!(made >= CALLS_MIN, "{made} calls");
    assert!(granted > 300, "the tools find what is ours in {granted} of {made} calls");
}
