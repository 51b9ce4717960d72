//! The tools of a run: what there is, whether the arguments fit, and the call itself.
//!
//! A tool that fails is an answer for the model to read. Only we ourselves failing is an error.

mod files;
mod memories;
mod trace;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jsonschema::Validator;
use mcp::{
    call::{CallContext, CallError},
    servers::Servers,
};
use memory::service::MemoryService;
use protocol::{
    id::{CallId, RunId},
    scope::Scope,
    tool::{Approval, Effect, Outcome, ToolInfo, ToolSource},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Store, error::StoreError, failpoint};
use tokio_util::sync::CancellationToken;

use crate::{
    redactor::{Reach, Redactor},
    settings::AgentSettings,
};

/// What is kept of a result, in bytes of compact JSON.
const RESULT_MAX_BYTES: usize = 1024 * 1024;
/// Most faults of bad arguments that the model is told at once.
const FAULTS_MAX: usize = 8;
/// Compiled schemas that are kept.
const VALIDATORS_MAX: usize = 1024;

/// What the model reads of a call whose end nobody saw.
const UNKNOWN: &str = "The process that made this call is gone. Whether the call took effect is \
unknown: do not assume either, and do not repeat it without finding out.";

/// What the model reads of a call that nobody can allow.
const DENIED: &str = "This tool needs a person's approval, and there is no way to ask for one yet.";

/// All tools of this process.
pub(crate) struct Toolbox {
    store: Store,
    memory: MemoryService,
    mcp: Arc<Servers>,
    redactor: Redactor,
    workspace_root: PathBuf,
    timeout: Duration,
    validators: Mutex<HashMap<[u8; 32], Arc<Validator>>>,
}

/// Who calls.
pub(crate) struct Caller<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) run_id: RunId,
    pub(crate) step: u32,
    pub(crate) call_id: CallId,
}

/// What a call came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) result: Value,
    pub(crate) outcome: Outcome,
    pub(crate) truncated: bool,
}

impl Answer {
    fn ok(result: Value) -> Self {
        Self { result, outcome: Outcome::Ok, truncated: false }
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self { result: Value::String(message.into()), outcome: Outcome::Error, truncated: false }
    }

    /// A call that was sent, or may have been, by a worker that is gone.
    pub(crate) fn unknown() -> Self {
        Self { result: UNKNOWN.into(), outcome: Outcome::Unknown, truncated: false }
    }

    /// A call that a person would have to allow.
    pub(crate) fn denied() -> Self {
        Self { result: DENIED.into(), outcome: Outcome::Denied, truncated: false }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.outcome != Outcome::Ok
    }

    /// As the model reads it.
    pub(crate) fn text(&self) -> String {
        match &self.result {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    fn bounded(self) -> Self {
        let text = self.text();
        if text.len() <= RESULT_MAX_BYTES {
            return self;
        }
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let kept = text.get(..text.floor_char_boundary(RESULT_MAX_BYTES)).unwrap_or_default();
        let note = format!("[… cut: {} bytes in all, sha256 {hex}]", text.len());
        Self { result: Value::String(format!("{kept}\n{note}")), truncated: true, ..self }
    }
}

/// A built-in tool did not do it.
#[derive(Debug)]
enum ToolError {
    /// The model can read why, and do something else.
    Told(String),
    /// We failed.
    Ours(StoreError),
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::Told("there is no such row".into()),
            StoreError::Unstorable(_) => Self::Told("the value cannot be stored".into()),
            other => Self::Ours(other),
        }
    }
}

impl Toolbox {
    pub(crate) fn new(
        store: Store,
        memory: MemoryService,
        mcp: Arc<Servers>,
        redactor: Redactor,
        workspace_root: PathBuf,
        timeout: Duration,
    ) -> Self {
        Self { store, memory, mcp, redactor, workspace_root, timeout, validators: Mutex::default() }
    }

    /// Every tool that a run could have now.
    pub(crate) fn all(&self) -> Vec<ToolInfo> {
        let mut tools = builtins();
        tools.extend(self.mcp.tools().into_iter().map(|mut tool| {
            // A server may describe itself with what it was configured with.
            self.redactor.clean_known(&mut tool.description);
            self.redactor.clean_value(&mut tool.input_schema, Reach::Known);
            tool
        }));
        tools
    }

    /// The tools that runs of this agent have now.
    pub(crate) fn of(&self, agent: &AgentSettings) -> Vec<ToolInfo> {
        let mut tools = self.all();
        tools.retain(|tool| agent.may_call(&tool.name));
        tools
    }

    /// Why these arguments do not fit the tool; none if they do.
    pub(crate) fn fault(&self, tool: &ToolInfo, args: &Value) -> Option<String> {
        if !args.is_object() {
            return Some("the arguments are not a JSON object".into());
        }
        let validator = match self.validator(tool) {
            Ok(validator) => validator,
            Err(message) => return Some(format!("the tool's own schema is broken: {message}")),
        };
        let faults: Vec<_> = validator
            .iter_errors(args)
            .take(FAULTS_MAX)
            .map(|fault| {
                let at = fault.instance_path().to_string();
                if at.is_empty() { fault.to_string() } else { format!("{at}: {fault}") }
            })
            .collect();
        (!faults.is_empty()).then(|| format!("the arguments do not fit: {}", faults.join("; ")))
    }

    /// Calls a tool once. Its own failure is an answer; an error is ours.
    pub(crate) async fn call(
        &self,
        tool: &ToolInfo,
        args: &Value,
        caller: &Caller<'_>,
        cancel: &CancellationToken,
    ) -> Result<Answer, StoreError> {
        let answer = match &tool.source {
            ToolSource::Builtin => self.call_builtin(&tool.name, args, caller).await?,
            ToolSource::Mcp { .. } => self.call_mcp(tool, args, caller, cancel).await,
        };
        Ok(answer.bounded())
    }

    async fn call_builtin(
        &self,
        name: &str,
        args: &Value,
        caller: &Caller<'_>,
    ) -> Result<Answer, StoreError> {
        let scoped = self.store.scoped(caller.scope);
        let call = async {
            match name {
                "memory_search" => memories::search(&self.memory, caller, args).await,
                "memory_get" => memories::get(&self.memory, caller, args).await,
                "memory_write" => memories::write(&self.memory, caller, args).await,
                "read_file" => files::read(&self.workspace_root, caller.scope, args).await,
                "export_trace" => trace::export(&scoped, caller.run_id, args).await,
                other => Err(ToolError::Told(format!("no tool is named `{other}`"))),
            }
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(result)) => Ok(Answer::ok(result)),
            Ok(Err(ToolError::Told(message))) => Ok(Answer::error(message)),
            Ok(Err(ToolError::Ours(error))) => Err(error),
            Err(_) => Ok(Answer {
                result: format!("no answer within {} ms", self.timeout.as_millis()).into(),
                outcome: Outcome::Timeout,
                truncated: false,
            }),
        }
    }

    async fn call_mcp(
        &self,
        tool: &ToolInfo,
        args: &Value,
        caller: &Caller<'_>,
        cancel: &CancellationToken,
    ) -> Answer {
        let context =
            CallContext { call_id: caller.call_id, timeout: None, cancel: cancel.clone() };
        failpoint::pass("before_send");
        match self.mcp.call(&tool.name, args, context).await {
            Ok(result) => Answer {
                outcome: if result.is_error { Outcome::Error } else { Outcome::Ok },
                result: result.content,
                truncated: result.truncated,
            },
            Err(error) => {
                Answer {
                    outcome: match (&error, tool.effect) {
                        (CallError::Timeout { .. }, _) => Outcome::Timeout,
                        (_, Effect::AtMostOnce) if error.outcome_is_unknown() => Outcome::Unknown,
                        _ => Outcome::Error,
                    },
                    result: if error.outcome_is_unknown() && tool.effect == Effect::AtMostOnce {
                        format!("{error}. Whether the call took effect is unknown: do not assume either.")
                        .into()
                    } else {
                        error.to_string().into()
                    },
                    truncated: false,
                }
            }
        }
    }

    fn validator(&self, tool: &ToolInfo) -> Result<Arc<Validator>, String> {
        let schema = tool.input_schema.to_string();
        let key: [u8; 32] = Sha256::digest(schema.as_bytes()).into();
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = validators.get(&key) {
            return Ok(Arc::clone(validator));
        }
        let validator = Arc::new(
            jsonschema::validator_for(&tool.input_schema).map_err(|error| error.to_string())?,
        );
        if validators.len() >= VALIDATORS_MAX {
            validators.clear();
        }
        validators.insert(key, Arc::clone(&validator));
        Ok(validator)
    }
}

/// The tools that every run has.
fn builtins() -> Vec<ToolInfo> {
    [memories::tools(), vec![files::tool(), trace::tool()]].concat()
}

fn builtin(
    name: &str,
    description: &str,
    effect: Effect,
    properties: Value,
    required: &[&str],
) -> ToolInfo {
    ToolInfo {
        name: name.into(),
        description: description.into(),
        input_schema: json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }),
        effect,
        approval: Approval::Never,
        source: ToolSource::Builtin,
    }
}

/// Reads arguments that were checked against the schema into their type.
fn parse<T: serde::de::DeserializeOwned>(args: &Value) -> Result<T, ToolError> {
    serde_json::from_value(args.clone()).map_err(|error| ToolError::Told(error.to_string()))
}
