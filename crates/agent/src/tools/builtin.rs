//! What a built-in tool consists of: its description and its function. The tools themselves are in
//! the modules beside.

use std::path::PathBuf;

use futures::future::BoxFuture;
use jiff::Zoned;
use memory::service::MemoryService;
use protocol::{
    id::{CallId, RunId},
    scope::Scope,
    tool::{Approval, Effect, ToolInfo, ToolSource},
};
use serde_json::{Value, json};
use store::{Store, error::StoreError};

pub(crate) struct Builtin {
    pub(crate) info: ToolInfo,
    pub(crate) call: BuiltinCall,
}

/// The function of a built-in tool; its arguments match its schema.
pub(crate) type BuiltinCall = for<'a> fn(
    &'a BuiltinParts,
    &'a ToolCaller<'a>,
    &'a Value,
) -> BoxFuture<'a, Result<Value, ToolError>>;

/// What built-in tools work with.
pub(crate) struct BuiltinParts {
    pub(crate) store: Store,
    pub(crate) memory: MemoryService,
    pub(crate) workspace_root: PathBuf,
}

/// For which call of which run a tool is called.
pub(crate) struct ToolCaller<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) run_id: RunId,
    pub(crate) step: u32,
    pub(crate) call_id: CallId,
    /// When the run was asked for, in its time zone.
    pub(crate) asked_at: &'a Zoned,
    /// Tokens of a result that a prompt shows whole.
    pub(crate) result_tokens: u64,
}

/// A built-in tool failed.
#[derive(Debug)]
pub(crate) enum ToolError {
    /// The model can read why, and do something else.
    Told(String),
    /// A failure of ours, which is not told to the model.
    Ours(StoreError),
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::Told("it was not found".into()),
            StoreError::Unstorable(_) => Self::Told("the value cannot be stored".into()),
            other => Self::Ours(other),
        }
    }
}

/// The description of a built-in tool; `properties` is JSON Schema.
pub(crate) fn info(
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
pub(crate) fn parse<T: serde::de::DeserializeOwned>(args: &Value) -> Result<T, ToolError> {
    serde_json::from_value(args.clone()).map_err(|error| ToolError::Told(error.to_string()))
}
