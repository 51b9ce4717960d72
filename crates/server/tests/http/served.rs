//! A server on a fresh database, a client of it, and a hand that plays the worker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use memory::service::MemoryService;
use protocol::{
    context::SentContext,
    event::{Fact, StepResult, step_id},
    id::{RunId, SpanId},
    message::{Message, Usage},
    name::AgentId,
    run::{AgentInfo, RunLimits},
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use server::{
    app::Dependencies, auth::authenticator::Authenticator, listen::serve, settings::ServerSettings,
};
use store::{
    Store,
    connect::migrate,
    journal::{End, Entry, Journal, NewDelta, NewEvent},
    settings::StoreSettings,
    stream::StreamCursor,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Nothing here takes this long; a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) database: postgres::scratch::ScratchDatabase,
    pub(crate) shutdown: CancellationToken,
    /// The root of all workspaces.
    pub(crate) workspaces: TempDir,
    client: Client,
    server: JoinHandle<()>,
}

/// What a response was.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

pub(crate) async fn served() -> Served {
    served_with(ServerSettings::default()).await
}

pub(crate) async fn served_with(settings: ServerSettings) -> Served {
    served_by(settings, || "openintern_streams_open 0\n".to_owned()).await
}

pub(crate) async fn served_by(
    settings: ServerSettings,
    metrics: impl Fn() -> String + Send + Sync + 'static,
) -> Served {
    served_for(settings, metrics, async |_| Authenticator::none()).await
}

/// A server that authenticates its callers.
pub(crate) async fn served_to(authenticator: impl AsyncFnOnce(Store) -> Authenticator) -> Served {
    served_for(ServerSettings::default(), String::new, authenticator).await
}

pub(crate) async fn served_for(
    settings: ServerSettings,
    metrics: impl Fn() -> String + Send + Sync + 'static,
    authenticator: impl AsyncFnOnce(Store) -> Authenticator,
) -> Served {
    let database = postgres::scratch::database().await;
    migrate(&database.owner_url).await.unwrap();
    let store = Store::connect(&StoreSettings::new(&database.app_url)).await.unwrap();
    let shutdown = CancellationToken::new();
    let workspaces = tempfile::tempdir().unwrap();
    let dependencies = Dependencies {
        authenticator: authenticator(store.clone()).await,
        workspace_root: workspaces.path().to_owned(),
        metrics: Arc::new(metrics),
        ..dependencies(&store)
    };
    let (address, server) = listen(dependencies, settings, shutdown.clone()).await;
    Served { address, store, database, shutdown, workspaces, client: Client::new(), server }
}

fn dependencies(store: &Store) -> Dependencies {
    Dependencies {
        store: store.clone(),
        memory: MemoryService::new(store.clone(), None),
        agents: ["main", "writer"].map(agent).to_vec(),
        model_fault: Arc::new(|config, _| {
            let is_absent = config.provider.as_deref() == Some("nobody");
            is_absent.then(|| "cannot be used: provider `nobody` is unknown".to_owned())
        }),
        mask: Arc::new(|_| {}),
        authenticator: Authenticator::none(),
        workspace_root: std::env::temp_dir(),
        metrics: Arc::new(String::new),
        version: "1.2.3",
    }
}

async fn listen(
    dependencies: Dependencies,
    settings: ServerSettings,
    shutdown: CancellationToken,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, dependencies, settings, shutdown)))
}

fn agent(name: &str) -> AgentInfo {
    AgentInfo {
        agent_id: AgentId::new(name).unwrap(),
        description: format!("The agent {name}."),
        model: "demo/default".into(),
        models: vec!["demo/default".into()],
        limits: RunLimits::default(),
        response_format: (name == "writer")
            .then(|| serde_json::from_value(writers_format()).unwrap()),
    }
}

/// What the agent `writer` answers with.
pub(crate) fn writers_format() -> Value {
    json!({"type": "object", "title": "of the writer"})
}

impl Served {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Another server on the same database, until the test ends.
    pub(crate) async fn beside(&self, authenticator: Authenticator) -> SocketAddr {
        let dependencies = Dependencies { authenticator, ..dependencies(&self.store) };
        listen(dependencies, ServerSettings::default(), self.shutdown.clone()).await.0
    }

    /// A request without a scope.
    pub(crate) fn bare(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path)).timeout(PATIENCE)
    }

    /// A request of ours.
    pub(crate) fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        self.bare(method, path).header("x-org-id", "org_a").header("x-user-id", "user_a")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.ask("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.ask("POST", path).json(&body)).await
    }

    /// A run of ours in the queue.
    pub(crate) async fn create(&self, input: &str) -> RunId {
        let created = self.post("/api/runs", json!({"input": input})).await.expect(201);
        created["run_id"].as_str().unwrap().parse().unwrap()
    }

    /// Takes the one run of the queue, as a worker would.
    pub(crate) async fn work(&self) -> Work {
        let lease = Duration::from_secs(60);
        let claims = self.store.claim(Uuid::now_v7(), 1, lease).await.unwrap();
        let [claim] = &claims[..] else { panic!("{} runs in the queue", claims.len()) };
        Work { run_id: claim.run_id, journal: self.store.journal(claim) }
    }

    /// A run of ours that has three events and has ended.
    pub(crate) async fn ended(&self) -> RunId {
        let run_id = self.create("任务").await;
        let mut work = self.work().await;
        work.start().await;
        work.warn("小心").await;
        work.complete("完成").await;
        run_id
    }

    /// A connection without a client's manners.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }

    /// Everything that comes back until the server closes.
    pub(crate) async fn raw_answer(&self, bytes: impl AsRef<[u8]>) -> String {
        rest_of(self.raw(bytes).await).await
    }

    /// Asks the server to end and waits until it has.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.server).await.expect("it ends").unwrap();
    }
}

pub(crate) async fn rest_of(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the server closes") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8(all).unwrap()
}

pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert!(headers.contains_key("x-request-id"), "every response names its request");
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The body, if this is the status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Checks the whole form of a refusal; answers its body.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.header("content-type").starts_with("application/json"));
        let body = self.json();
        assert_eq!(body["error"]["code"], code);
        assert!(body["error"]["message"].as_str().is_some_and(|words| !words.is_empty()));
        assert_eq!(body["error"]["request_id"], self.header("x-request-id"));
        let waits = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            self.headers.contains_key("retry-after"),
            waits == StatusCode::TOO_MANY_REQUESTS || waits == StatusCode::SERVICE_UNAVAILABLE
        );
        body
    }

    /// Checks a `validation_error` that names one field.
    #[track_caller]
    pub(crate) fn names(self, field: &str) {
        let body = self.refused(400, "validation_error");
        assert_eq!(body["error"]["details"][0]["field"], field, "{body}");
    }
}

/// The hand that plays the worker of one run.
pub(crate) struct Work {
    run_id: RunId,
    journal: Journal,
}

impl Work {
    pub(crate) async fn start(&mut self) {
        let started = Fact::RunStarted {
            input: "任务".into(),
            model: "demo/default".into(),
            limits: RunLimits::default(),
            epoch: 1,
            parent_run_id: None,
            forked_from_step: None,
        };
        self.events(vec![started]).await;
    }

    pub(crate) async fn warn(&mut self, message: &str) {
        self.events(vec![warning(message)]).await;
    }

    pub(crate) async fn events(&mut self, facts: Vec<Fact>) {
        let events = facts.into_iter().map(|fact| self.event(fact)).collect();
        self.write(Entry { events, ..Entry::default() }).await;
    }

    pub(crate) async fn write(&mut self, entry: Entry) {
        self.journal.commit(&entry).await.unwrap();
    }

    /// Text after the last event; none is a reset.
    pub(crate) async fn delta(&mut self, n: u64, text: Option<&str>) {
        let at = StreamCursor { seq: self.journal.last_seq(), n };
        let deltas = vec![NewDelta { at, step: 1, text: text.map(str::to_owned) }];
        self.journal.commit(&Entry { deltas, ..Entry::default() }).await.unwrap();
    }

    /// The conversation of a run of one step, in which the model was asked this and answered the same.
    pub(crate) async fn answer(&mut self, text: &str) {
        let sent = SentContext { step: 1, kept_from: 2, input_tokens: 9, ..SentContext::default() };
        let messages = vec![
            Message::System {
                content: text.into(),
                core: Vec::new(),
                folded: None,
                turns: Vec::new(),
            },
            Message::User { content: text.into() },
            Message::Assistant {
                content: text.into(),
                tool_calls: Vec::new(),
                replay: None,
                sent: Some(Box::new(sent)),
            },
        ];
        self.journal.commit(&Entry { messages, ..Entry::default() }).await.unwrap();
    }

    pub(crate) async fn complete(&mut self, output: &str) {
        let completed = Fact::RunCompleted {
            output: output.into(),
            output_cut: false,
            usage: Usage::default(),
            cost_usd: 0.0,
            duration_ms: 1,
        };
        let entry = Entry {
            events: vec![
                self.event(Fact::StepCompleted {
                    step: 1,
                    result_type: StepResult::FinalAnswer,
                    duration_ms: 1,
                }),
                self.event(completed),
            ],
            end: Some(End::Completed { output: output.into() }),
            ..Entry::default()
        };
        assert_eq!(step_id(1), "step_0001");
        self.journal.commit(&entry).await.unwrap();
    }

    fn event(&self, fact: Fact) -> NewEvent {
        NewEvent {
            fact,
            step: None,
            span_id: SpanId::derive(self.run_id, "run"),
            parent_span_id: None,
            contains_secrets: false,
        }
    }
}

pub(crate) fn warning(message: &str) -> Fact {
    Fact::RunWarning {
        code: "test".into(),
        message: message.into(),
        cause: None,
        tokens: None,
        switch: None,
    }
}
