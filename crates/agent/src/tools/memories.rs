//! `memory_search`, `memory_get`, `memory_write`: the memory service as the model sees it, always in
//! the run's own scope.

use memory::service::{MemoryError, MemoryService};
use protocol::{
    error::FieldError,
    id::MemoryId,
    memory::{MemoryType, SearchMemories, WriteMemory},
    tool::{Effect, ToolInfo},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::memories::Origin;

use super::{Caller, ToolError, builtin, parse};

pub(super) fn tools() -> Vec<ToolInfo> {
    vec![
        builtin(
            "memory_search",
            "Searches what was remembered in this scope, by meaning and by words, in any language. \
             Answers snippets, best first; read a whole text with `memory_get`.",
            Effect::ReadOnly,
            json!({
                "query": {"type": "string", "minLength": 1, "maxLength": 4096,
                          "description": "What to look for, as a question or as words."},
                "top_k": {"type": "integer", "minimum": 1, "maximum": 50, "default": 8},
                "filters": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "array",
                                 "items": {"enum": ["core", "episodic", "archival"]}},
                        "group_key": {"type": "string"},
                        "metadata": {"type": "object",
                                     "description": "The memory's metadata must contain this."},
                        "occurred_after": {"type": "string",
                                           "description": "RFC 3339 or YYYY-MM-DD."},
                        "occurred_before": {"type": "string",
                                            "description": "RFC 3339 or YYYY-MM-DD."}
                    },
                    "additionalProperties": false
                }
            }),
            &["query"],
        ),
        builtin(
            "memory_get",
            "Reads one memory, whole, by the id that `memory_search` answered.",
            Effect::ReadOnly,
            json!({"id": {"type": "string", "description": "Like `mem_01kas5w4z8e5tv3k0v9x2m7qhd`."}}),
            &["id"],
        ),
        builtin(
            "memory_write",
            "Remembers a text for later runs in this scope. `core` is always in the prompt: keep it \
             for what the user is and wants; `episodic` is what happened; `archival` is what is known.",
            Effect::Idempotent,
            json!({
                "type": {"enum": ["core", "episodic", "archival"]},
                "text": {"type": "string", "minLength": 1, "maxLength": 65536,
                         "description": "One fact or event, understandable on its own."},
                "metadata": {"type": "object"},
                "importance": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5}
            }),
            &["type", "text"],
        ),
    ]
}

pub(super) async fn search(
    memory: &MemoryService,
    caller: &Caller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let search: SearchMemories = parse(args)?;
    let hits = memory.search(caller.scope, &search).await?;
    serde_json::to_value(hits).map_err(|error| ToolError::Told(error.to_string()))
}

#[derive(Deserialize)]
struct GetArgs {
    id: String,
}

pub(super) async fn get(
    memory: &MemoryService,
    caller: &Caller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let GetArgs { id } = parse(args)?;
    let absent = || ToolError::Told(format!("there is no memory `{id}`"));
    let found = memory.get(caller.scope, id.parse().map_err(|_| absent())?).await;
    match found {
        Ok(found) => Ok(json!({
            "id": found.id, "type": found.kind, "text": found.text, "metadata": found.metadata,
            "importance": found.importance, "created_at": found.created_at,
            "updated_at": found.updated_at,
        })),
        Err(MemoryError::NotFound) => Err(absent()),
        Err(other) => Err(other.into()),
    }
}

#[derive(Deserialize)]
struct WriteArgs {
    #[serde(rename = "type")]
    kind: MemoryType,
    text: String,
    metadata: Option<Map<String, Value>>,
    importance: Option<f32>,
}

pub(super) async fn write(
    memory: &MemoryService,
    caller: &Caller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let args: WriteArgs = parse(args)?;
    let mut new = WriteMemory::new(args.kind, args.text);
    new.metadata = args.metadata;
    new.importance = args.importance.unwrap_or(new.importance);
    let origin = Origin { run_id: caller.run_id, step: caller.step };
    // The call names the memory: the same call again, after a crash, writes nothing new.
    let id = MemoryId::from_uuid(caller.call_id.uuid());
    let id = memory.write_as(caller.scope, id, &new, Some(origin)).await?;
    Ok(json!({"id": id}))
}

impl From<MemoryError> for ToolError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::NotFound => Self::Told("there is no such memory".into()),
            MemoryError::Invalid(faults) => Self::Told(told(&faults)),
            beyond @ MemoryError::Beyond(_) => Self::Told(beyond.to_string()),
            MemoryError::Store(error) => error.into(),
        }
    }
}

fn told(faults: &[FieldError]) -> String {
    faults
        .iter()
        .map(|fault| format!("{}: {}", fault.field, fault.message))
        .collect::<Vec<_>>()
        .join("; ")
}
