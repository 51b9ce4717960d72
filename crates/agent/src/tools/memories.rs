//! `memory_search`, `memory_get`, `memory_write`: the memory service as the model sees it, always in
//! the run's own scope.

use futures::FutureExt;
use memory::service::MemoryError;
use protocol::{
    error::FieldError,
    id::MemoryId,
    memory::{MemoryType, OccurredAt, SearchMemories, WriteMemory},
    tool::Effect,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::memories::Origin;

use super::builtin::{Builtin, BuiltinParts, ToolCaller, ToolError, info, parse};

/// The names of these tools: what a run knew and wrote is read from its calls of them.
pub(crate) const MEMORY_SEARCH: &str = "memory_search";
pub(crate) const MEMORY_GET: &str = "memory_get";
pub(crate) const MEMORY_WRITE: &str = "memory_write";

pub(super) fn search() -> Builtin {
    Builtin {
        info: info(
            MEMORY_SEARCH,
            "Searches what was remembered in this scope, by meaning and by words, in any language. \
            Returns snippets, best first; read a whole text with `memory_get`.",
            Effect::ReadOnly,
            json!({
                "query": {"type": "string", "minLength": 1, "maxLength": 4096,
                          "description": "What to look for, as a question or as words."},
                "top_k": {"type": "integer", "minimum": 1, "maximum": 50, "default": 8},
                "filters": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "array",
                                 "items": {"type": "string",
                                           "enum": ["core", "episodic", "archival"]}},
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
        call: |parts, caller, args| search_memories(parts, caller, args).boxed(),
    }
}

pub(super) fn get() -> Builtin {
    Builtin {
        info: info(
            MEMORY_GET,
            "Reads one whole memory by the id that `memory_search` returned.",
            Effect::ReadOnly,
            json!({"id": {"type": "string", "description": "Like `mem_01kas5w4z8e5tv3k0v9x2m7qhd`."}}),
            &["id"],
        ),
        call: |parts, caller, args| get_memory(parts, caller, args).boxed(),
    }
}

pub(super) fn write() -> Builtin {
    Builtin {
        info: info(
            MEMORY_WRITE,
            "Remembers a text for later runs in this scope. `core` is always in the prompt: keep it \
             for what the user is and wants; `episodic` is what happened; `archival` is what is known.",
            Effect::Idempotent,
            json!({
                "type": {"type": "string", "enum": ["core", "episodic", "archival"]},
                "text": {"type": "string", "minLength": 1, "maxLength": 65536,
                         "description": "One fact or event, understandable on its own."},
                "metadata": {"type": "object"},
                "importance": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
                "occurred_at": {"type": "string",
                                "description": "When it happened or will: YYYY-MM-DD or RFC 3339. \
                                                \"Tomorrow\" in the text is seen from there."}
            }),
            &["type", "text"],
        ),
        call: |parts, caller, args| write_memory(parts, caller, args).boxed(),
    }
}

async fn search_memories(
    parts: &BuiltinParts,
    caller: &ToolCaller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let search: SearchMemories = parse(args)?;
    let memory = parts.memory.asked_at(caller.asked_at.clone());
    let hits = memory.search(caller.scope, &search).await?;
    serde_json::to_value(hits).map_err(|error| ToolError::Told(error.to_string()))
}

#[derive(Deserialize)]
struct MemoryGetArgs {
    id: String,
}

async fn get_memory(
    parts: &BuiltinParts,
    caller: &ToolCaller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let MemoryGetArgs { id } = parse(args)?;
    let absent = || ToolError::Told(format!("there is no memory `{id}`"));
    let found = parts.memory.get(caller.scope, id.parse().map_err(|_| absent())?).await;
    match found {
        Ok(found) => Ok(json!({
            "id": found.id, "type": found.kind, "text": found.text, "metadata": found.metadata,
            "importance": found.importance, "occurred_at": found.occurred_at,
            "created_at": found.created_at,
            "updated_at": found.updated_at,
        })),
        Err(MemoryError::NotFound) => Err(absent()),
        Err(other) => Err(other.into()),
    }
}

#[derive(Deserialize)]
struct MemoryWriteArgs {
    #[serde(rename = "type")]
    kind: MemoryType,
    text: String,
    metadata: Option<Map<String, Value>>,
    importance: Option<f32>,
    occurred_at: Option<OccurredAt>,
}

async fn write_memory(
    parts: &BuiltinParts,
    caller: &ToolCaller<'_>,
    args: &Value,
) -> Result<Value, ToolError> {
    let args: MemoryWriteArgs = parse(args)?;
    let mut new = WriteMemory::new(args.kind, args.text);
    new.metadata = args.metadata;
    new.importance = args.importance.unwrap_or(new.importance);
    new.occurred_at = args.occurred_at;
    let origin = Origin { run_id: caller.run_id, step: caller.step };
    // The call names the memory: the same call again, after a crash, writes nothing new.
    let id = MemoryId::from_uuid(caller.call_id.uuid());
    let id = parts.memory.write_as(caller.scope, id, &new, Some(origin)).await?;
    Ok(json!({"id": id}))
}

impl From<MemoryError> for ToolError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::NotFound => Self::Told("there is no such memory".into()),
            MemoryError::Invalid(faults) => Self::Told(fault_text(&faults)),
            beyond @ MemoryError::Beyond(_) => Self::Told(beyond.to_string()),
            MemoryError::Store(error) => error.into(),
        }
    }
}

fn fault_text(faults: &[FieldError]) -> String {
    faults
        .iter()
        .map(|fault| format!("{}: {}", fault.field, fault.message))
        .collect::<Vec<_>>()
        .join("; ")
}
