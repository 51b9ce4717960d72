//! The outside world: an MCP server on standard input and output that writes down every call that
//! reaches it before it answers. Its journal, not the product's, says what really happened.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdout, stdin, stdout},
    sync::Mutex,
    time::sleep,
};

use crate::clock::now_us;

/// Must not happen twice.
pub(crate) const ONCE: &str = "effect_once";
/// May happen again under the same call id.
pub(crate) const AGAIN: &str = "effect_again";

/// Not of this server: the product's own.
pub(crate) const MEMORY_WRITE: &str = "memory_write";

/// A call that reached the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Execution {
    pub(crate) tool: String,
    /// Names the run, by what the model made of its task.
    pub(crate) token: String,
    /// The turn of the model that asked for it.
    pub(crate) step: u64,
    /// The id that the runtime sent along.
    pub(crate) call_id: String,
    pub(crate) pid: u32,
    /// When, in microseconds since 1970.
    pub(crate) at_us: i64,
}

/// Everything that reached any server, in the order of the journal.
pub(crate) fn read_journal(path: &Path) -> Result<Vec<Execution>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path)?;
    // A server that was killed while it wrote leaves half a line: nobody was answered for it.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Serves until the input ends.
pub(crate) async fn serve(journal: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(journal)?;
    let server = Arc::new(EffectServer { journal: Mutex::new(file), out: Mutex::new(stdout()) });
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let server = Arc::clone(&server);
        let message: Value = serde_json::from_str(&line)?;
        tokio::spawn(async move { server.answer(message).await });
    }
    Ok(())
}

struct EffectServer {
    journal: Mutex<File>,
    out: Mutex<Stdout>,
}

impl EffectServer {
    async fn answer(&self, message: Value) -> Result<()> {
        let Some(id) = message.get("id").cloned() else { return Ok(()) };
        let outcome = match message.get("method").and_then(Value::as_str) {
            Some("initialize") => json!({"result": {
                "protocolVersion": message.pointer("/params/protocolVersion"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "effects", "version": "1"},
            }}),
            Some("tools/list") => json!({"result": {"tools": [described(ONCE), described(AGAIN)]}}),
            Some("tools/call") => self.call(message.get("params").unwrap_or(&Value::Null)).await?,
            Some("ping") => json!({"result": {}}),
            _ => json!({"error": {"code": -32601, "message": "unknown method"}}),
        };
        let mut answer = json!({"jsonrpc": "2.0", "id": id});
        if let (Value::Object(answer), Value::Object(outcome)) = (&mut answer, outcome) {
            answer.extend(outcome);
        }
        let mut out = self.out.lock().await;
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        Ok(out.flush().await?)
    }

    /// Half the delay lies before the effect and half after it, so that a crash finds both.
    async fn call(&self, params: &Value) -> Result<Value> {
        let argument = |name: &str| params.pointer(&format!("/arguments/{name}"));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let delay_ms = argument("delay_ms").and_then(Value::as_u64).unwrap_or(0);
        let delay = Duration::from_millis(delay_ms) / 2;
        sleep(delay).await;
        let execution = Execution {
            tool: text(params.get("name")).context("a name")?,
            token: text(argument("token")).context("a token")?,
            step: argument("step").and_then(Value::as_u64).context("a step")?,
            call_id: text(params.pointer("/_meta/openintern~1call-id")).unwrap_or_default(),
            pid: std::process::id(),
            at_us: now_us(),
        };
        self.write_down(&execution).await?;
        sleep(delay).await;
        let words = format!("done: {} {}", execution.token, execution.step);
        Ok(json!({"result": {"content": [{"type": "text", "text": words}]}}))
    }

    async fn write_down(&self, execution: &Execution) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(execution)?);
        let mut journal = self.journal.lock().await;
        journal.write_all(line.as_bytes())?;
        Ok(journal.sync_data()?)
    }
}

fn described(tool: &str) -> Value {
    json!({"name": tool, "description": "Acts.", "inputSchema": {
        "type": "object",
        "properties": {
            "token": {"type": "string"},
            "step": {"type": "integer"},
            "delay_ms": {"type": "integer"},
        },
        "required": ["token", "step"],
    }})
}
