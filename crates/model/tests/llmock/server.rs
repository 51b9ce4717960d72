//! llmock as a child process on a free port; it ends with the value.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub(crate) struct Llmock {
    pub(crate) url: String,
    client: reqwest::Client,
    _child: Child,
}

impl Llmock {
    /// Starts it and waits until it says its address.
    pub(crate) async fn start() -> Llmock {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/llmock");
        assert!(program.exists(), "`.venv/bin/llmock` is missing; hint: run `make deps`");
        let mut child = Command::new(program)
            .args(["serve", "--port", "0", "--log-level", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let Some(line) = lines.next_line().await.unwrap() else {
                panic!("llmock ended before it was ready; it said:\n{said}")
            };
            if let Some((_, rest)) = line.split_once("running on ") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Its pipe must not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Llmock { url, client, _child: child }
    }

    /// Queues what shall happen to the next requests.
    pub(crate) async fn will(&self, behaviors: Value) {
        let post = self.client.post(format!("{}/_llmock/scenario", self.url));
        let answer = post.json(&json!({"behaviors": behaviors})).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    /// Forgets all requests and what was queued.
    pub(crate) async fn reset(&self) {
        self.client.post(format!("{}/_llmock/reset", self.url)).send().await.unwrap();
    }

    /// How many requests came.
    pub(crate) async fn count(&self) -> u64 {
        self.get("requests").await["count"].as_u64().unwrap()
    }

    /// What llmock thinks of its client: the findings.
    pub(crate) async fn findings(&self) -> Vec<Value> {
        self.get("verdict").await["findings"].as_array().unwrap().clone()
    }

    async fn get(&self, what: &str) -> Value {
        let get = self.client.get(format!("{}/_llmock/{what}", self.url));
        get.send().await.unwrap().json().await.unwrap()
    }
}
