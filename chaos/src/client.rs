//! A careful client of the API: it tries again on another node until it is acknowledged, and keeps
//! what no client should ever be told.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use protocol::{
    id::RunId,
    memory::{Memory, WholeMemoryPage},
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::model::Task;

/// Longest time until a node acknowledges.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The rest between two tries.
const REST: Duration = Duration::from_millis(50);
/// Whose runs these are.
pub(crate) const USER: &str = "user";

#[derive(Debug)]
pub(crate) struct PersistentClient {
    pub(crate) http: reqwest::Client,
    pub(crate) org: String,
    /// Who does its runs.
    agent: &'static str,
    urls: Vec<String>,
    next: AtomicUsize,
    complaints: Mutex<Vec<String>>,
}

/// A run that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acked {
    pub(crate) run_id: RunId,
    pub(crate) task: Task,
}

/// What a request for a run was answered.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) run_id: RunId,
    /// The answer says that it repeats an earlier one.
    pub(crate) replayed: bool,
}

impl PersistentClient {
    pub(crate) fn new(org: String, urls: Vec<String>) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            http,
            org,
            agent: "main",
            urls,
            next: AtomicUsize::new(0),
            complaints: Mutex::default(),
        })
    }

    /// The same client, with runs of another agent.
    pub(crate) fn with_agent(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    /// The query string that says who asks.
    pub(crate) fn scope(&self) -> String {
        self.scope_of(USER)
    }

    fn scope_of(&self, user: &str) -> String {
        format!("org_id={}&user_id={user}", self.org)
    }

    /// Answers that nobody should be given: server errors that are no `503`, of memories those, too.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Posts a task until it is acknowledged, under a key of its own.
    pub(crate) async fn create(&self, task: &Task) -> Result<Acked> {
        let created = self.create_with_key(task, &task.token).await?;
        Ok(Acked { run_id: created.run_id, task: task.clone() })
    }

    /// Posts a task under this key until it is acknowledged.
    pub(crate) async fn create_with_key(&self, task: &Task, key: &str) -> Result<Created> {
        self.create_as(task, key, &own_session(task)).await
    }

    /// Posts a task of a session that other tasks may have, too, until it is acknowledged.
    pub(crate) async fn create_in_session(&self, task: &Task, session: &str) -> Result<Acked> {
        let created = self.create_as(task, &task.token, session).await?;
        Ok(Acked { run_id: created.run_id, task: task.clone() })
    }

    async fn create_as(&self, task: &Task, key: &str, session: &str) -> Result<Created> {
        let answer = self.persist(async |url| self.post(url, task, key, session).await).await?;
        if answer.status() != StatusCode::CREATED {
            bail!("a run was refused: {} {}", answer.status(), answer.text().await?);
        }
        let replayed = answer.headers().contains_key("idempotency-replayed");
        let body: Value = answer.json().await?;
        let run_id = body.get("run_id").and_then(Value::as_str).context("a run id")?;
        Ok(Created { run_id: run_id.parse()?, replayed })
    }

    /// Posts a task under this key once, wherever it is this node's turn.
    pub(crate) async fn post_once(&self, task: &Task, key: &str) -> Result<Response> {
        self.post_in_session_once(task, key, &own_session(task)).await
    }

    /// The same in a session of this name.
    pub(crate) async fn post_in_session_once(
        &self,
        task: &Task,
        key: &str,
        session: &str,
    ) -> Result<Response> {
        self.post(self.turn(), task, key, session).await
    }

    /// Gets something once, wherever it is that node's turn. `path` has a query, if only the scope.
    pub(crate) async fn get_once(&self, path: &str) -> Result<Response> {
        let url = format!("{}{path}", self.turn());
        Ok(self.http.get(url).timeout(ANSWER_MAX).send().await?)
    }

    /// Posts memories once, in the same way.
    pub(crate) async fn post_memories(&self, memories: &[Value]) -> Result<Response> {
        let url = format!("{}/api/memories/bulk?{}", self.turn(), self.scope());
        let body = json!({"memories": memories});
        Ok(self.http.post(url).timeout(ANSWER_MAX).json(&body).send().await?)
    }

    /// Asks a run to stop; the answer says whether it was in time.
    pub(crate) async fn cancel(&self, run_id: RunId) -> Result<StatusCode> {
        let ask = async |url: &str| {
            let url = format!("{url}/api/runs/{run_id}/cancel?{}", self.scope());
            Ok(self.http.post(url).timeout(ANSWER_MAX).send().await?)
        };
        Ok(self.persist(ask).await?.status())
    }

    /// Posts something about memories once, for this user, wherever it is that node's turn. Nothing
    /// is the answer where the node was gone before it had given one; any server error is a complaint.
    pub(crate) async fn ask_memory(
        &self,
        user: &str,
        path: &str,
        body: &Value,
    ) -> Result<Option<Value>> {
        let url = format!("{}/api/memories{path}?{}", self.turn(), self.scope_of(user));
        let answer = async {
            let answer = self.http.post(url).timeout(ANSWER_MAX).json(body).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        match answer.await {
            Ok((status, text)) if status.is_success() => Ok(Some(serde_json::from_str(&text)?)),
            Ok((status, text)) => {
                ensure!(status.is_server_error(), "`{path}` was refused: {status} {text}");
                self.complain(format!("{status}: {text}"));
                Ok(None)
            }
            Err(error) => {
                if error.is_timeout() {
                    self.complain(format!("`{path}` had no answer in {} s", ANSWER_MAX.as_secs()));
                }
                Ok(None)
            }
        }
    }

    /// All memories of a user.
    pub(crate) async fn export(&self, user: &str) -> Result<Vec<Memory>> {
        let mut memories = Vec::new();
        let mut cursor = String::new();
        loop {
            let ask = async |url: &str| {
                let url =
                    format!("{url}/api/memories/export?{}&limit=500{cursor}", self.scope_of(user));
                Ok(self.http.get(url).timeout(ANSWER_MAX).send().await?)
            };
            let answer = self.persist(ask).await?;
            let page: WholeMemoryPage = answer.error_for_status()?.json().await?;
            memories.extend(page.memories);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(memories),
            }
        }
    }

    async fn post(&self, url: &str, task: &Task, key: &str, session: &str) -> Result<Response> {
        let body = json!({"input": task.prompt(), "session_key": session, "agent_id": self.agent});
        let request = self.http.post(format!("{url}/api/runs?{}", self.scope()));
        let request = request.header("idempotency-key", key).timeout(ANSWER_MAX);
        Ok(request.json(&body).send().await?)
    }

    /// Goes round the nodes until one answers with anything but "not now".
    async fn persist(&self, ask: impl AsyncFn(&str) -> Result<Response>) -> Result<Response> {
        let began = Instant::now();
        loop {
            match ask(self.turn()).await {
                Ok(answer) if answer.status().is_server_error() => {
                    if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                        self.complain(format!("{}: {}", answer.status(), answer.text().await?));
                    }
                }
                Ok(answer) => return Ok(answer),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => {}
            }
            if began.elapsed() > PATIENCE {
                bail!("no node acknowledged within {} s", PATIENCE.as_secs());
            }
            sleep(REST).await;
        }
    }

    fn complain(&self, words: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }

    fn turn(&self) -> &str {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.urls.iter().cycle().nth(turn % self.urls.len().max(1)).map_or("", String::as_str)
    }
}

/// A session with this task alone.
fn own_session(task: &Task) -> String {
    format!("s_{}", task.token)
}
